# The servers of `sasl serve`, built from the sdist in dist/ (docs/howto/test-from-another-language.md):
#   python -m build --sdist && docker build -t saslkit-serve .
FROM python:3.13-slim AS build
WORKDIR /build
COPY dist/saslkit-*.tar.gz ./
RUN python -m venv /opt/saslkit \
    && for sdist in saslkit-*.tar.gz; do /opt/saslkit/bin/pip install --no-cache-dir "./${sdist}[serve]"; done

FROM python:3.13-slim
COPY --from=build /opt/saslkit /opt/saslkit
RUN useradd --system --uid 10001 saslkit
USER 10001
WORKDIR /srv
EXPOSE 1143 1993 1110 1995 1587 1465 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/saslkit/bin/sasl", "serve"]
CMD ["--any-port", "--allow-remote", "localhost", "--imap", "1143", "--imaps", "1993", "--pop", "1110", "--pops", "1995", "--smtp", "1587", "--smtps", "1465", "--http", "8080"]
