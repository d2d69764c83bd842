"""Carries connections from this machine to a place of the lab, whose networks nobody else reaches."""

import socket
import threading

from . import namespaces


class Gateway:
    """Listens on 127.0.0.1 until `close`; what is connected then is cut."""

    def __init__(self, port: int, namespace: str, address: tuple[str, int]):
        self._namespace, self._address = namespace, address
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket):
        try:
            inside = namespaces.connect(self._namespace, self._address)
        except OSError:
            return client.close()  # the host is dead, or its daemon
        for stream in (client, inside):
            stream.settimeout(None)
        back = threading.Thread(target=self._carry, args=(inside, client), daemon=True)
        back.start()
        self._carry(client, inside)
        back.join()
        client.close()
        inside.close()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket):
        """Until its end, which it passes on."""
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # cut: the other way will be, too
        for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
            try:
                end.shutdown(how)
            except OSError:
                pass
