#!/bin/sh
# Mail by curl, tested in a shell: needs `sasl serve` and curl. Each check prints a line; the first that fails ends it.
set -eu

folder=$(mktemp -d)
: >"$folder/ready"
sasl serve --mechanism XOAUTH2 --mechanism PLAIN >"$folder/ready" 2>"$folder/log" &
servers=$!
trap 'kill $servers; wait $servers || true; rm -r "$folder"' EXIT
until grep -q '}$' "$folder/ready"; do
    kill -0 $servers || { cat "$folder/log"; exit 1; }
    sleep 0.1
done

# The value of a member in JSON of one line: member NAME <JSON
member() { sed -n "s/.*\"$1\": \"\{0,1\}\([^\",}]*\).*/\1/p"; }
ready() { sed "s/.*\"$1\": {\([^}]*\)}.*/\1/" "$folder/ready" | sed 's/$/}/' | member "$2"; }

ca=$(member ca <"$folder/ready")
imap=imaps://localhost:$(ready imap tls_port)
smtp=smtps://localhost:$(ready smtp tls_port)
printf 'header = "Authorization: Bearer %s"\n' "$(ready control key)" >"$folder/key"  # not in the list of processes

# control METHOD PATH [JSON]
control() {
    curl -sS --fail-with-body -K "$folder/key" -X "$1" "$(ready control url)/api/v1$2" \
        ${3:+-H "Content-Type: application/json" -d "$3"}
}
check() { echo "ok: $1"; }
fail() { echo "not ok: $1"; cat "$folder/log"; exit 1; }

# mail CREDENTIALS... -- what curl does with them at a server
read_mail() { curl -sS --cacert "$ca" "$@" "$imap/INBOX;UID=1"; }
send_mail() {
    printf 'Subject: hello\r\n\r\nHello, Bob.\r\n' |
        curl -sS --cacert "$ca" "$@" "$smtp" --mail-from alice@example.org --mail-rcpt bob@example.org -T -
}

# refused WORDS COMMAND... -- whether curl says that the login was refused, and the servers' log says WORDS
refused() {
    words=$1
    shift
    code=0
    "$@" >"$folder/out" 2>&1 || code=$?
    [ "$code" -eq 67 ] || fail "curl should have been refused: $code $(cat "$folder/out")"
    { control GET /attempts && control GET /verdicts; } | grep -q "$words" || fail "the log should say: $words"
    control POST /reset
}

control POST /users/alice/mailboxes/INBOX/messages '{"raw": "Subject: tea\n\nAt five."}' >/dev/null
read_mail -u alice:wonderland | grep -q '^At five' || fail "the right password should read"
check "the right password reads"

send_mail -u alice:wonderland
control GET '/messages/wait?to=bob' | grep -q '"subject": "hello"' || fail "the message should have come"
check "the right password sends"

refused 'unknown user or wrong password' read_mail -u alice:looking-glass
refused 'unknown user or wrong password' send_mail -u alice:looking-glass
check "a wrong password is refused"

token=$(control POST /users/alice/tokens '{}' | member token)
send_mail -u alice: --oauth2-bearer "$token"
check "a token sends"

control POST /clock '{"advance": 3601}' >/dev/null
refused 'never answered the error challenge' send_mail -u alice: --oauth2-bearer "$token"
refused 'never answered the error challenge' read_mail -u alice: --oauth2-bearer "$token"
check "an hour later it has expired; curl hangs up where it is told why"
