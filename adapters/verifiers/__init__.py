"""How a server checks what a client shows. Import what you need: each way has a file of its own."""
