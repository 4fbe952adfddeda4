"""The client of the control channel; it knows nothing of the server.

| file | idea |
|---|---|
| `connect.py` | opening a client, and closing it so that nothing stays behind |
| `client.py` | the methods of a supervisor, asked of one elsewhere |
| `keeper.py` | one connection after the other, until that is of no use |
| `channel.py` | what outlives a connection |
| `link.py` | one connection's life |
| `calls.py` | requests under way, and which may be asked again |
| `remote_watch.py` | where a watch stands, and whether what comes follows on that |
| `websocket.py` | the handshake, and a close that is bounded |
| `dial.py` | from an address to a stream |
"""
