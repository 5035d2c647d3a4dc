"""An addon of mitmdump (reverse:tcp): shows a client of HTTP what a network can do to it.

Job: let connections pass, but for those that a plan speaks of. The plan is a JSON
file, read when a connection begins:

  name   of this plan; another name is a new plan
  times  how many connections it is for; the others pass
  pass   how much of the request goes on: "nothing", "half" of its body, "all"
  then   what the client gets once that much has gone on:
           "reset"    the connection is reset (RST)
           "answer"   `answer` and the end; a real answer is kept back
           "cut"      the real answer up to `at` bytes, then the end
           "late"     the real answer after `seconds`
           "trickle"  the real answer byte by byte, `seconds` apart

Invariant: each fault that is shown is written down, by its plan's name and one to
a line, when the client is about to feel it: a test that saw no fault has shown
nothing.
"""

import asyncio
import contextlib
import json
import re
import socket
import struct

from mitmproxy import ctx


class FaultProxy:
    def __init__(self):
        self.begun = {}  # connections by plan
        self.current = {}  # plan and requests so far, by flow

    def load(self, loader):
        loader.add_option("plan", str, "", "the file with the plan")
        loader.add_option("shown", str, "", "the file that gets a line for each fault")

    def tcp_start(self, flow):
        with contextlib.suppress(FileNotFoundError), open(ctx.options.plan) as file:
            plan = json.load(file)
            begun = self.begun.get(plan["name"], 0)
            if begun < plan["times"]:
                self.begun[plan["name"]] = begun + 1
                self.current[flow.id] = Connection(flow, plan)

    async def tcp_message(self, flow):
        if connection := self.current.get(flow.id):
            message = flow.messages[-1]
            see = connection.request if message.from_client else connection.answer
            message.content = await see(message.content)

    def tcp_end(self, flow):
        self.current.pop(flow.id, None)

    tcp_error = tcp_end


class Connection:
    """One that a plan speaks of."""

    def __init__(self, flow, plan):
        self.flow, self.plan = flow, plan
        self.head, self.passed, self.wanted, self.answered = b"", 0, None, 0
        self.over = False

    def shown(self):
        with open(ctx.options.shown, "a") as file:
            print(self.plan["name"], file=file)

    async def request(self, content):
        """What of these bytes of the request goes on."""
        if self.over:
            return b""
        if self.wanted is None:
            self.head += content
            self.wanted = self.goes_on()
        go_on = content if self.wanted is None else content[: max(0, self.wanted - self.passed)]
        self.passed += len(go_on)
        if self.wanted is not None and self.passed >= self.wanted and self.plan["pass"] != "all":
            self.over = True
            if self.plan["then"] == "answer":
                self.write(self.plan["answer"].encode())
            self.end(reset=self.plan["then"] == "reset")
            # The server waits for the rest of a request; it gets it as little as the end.
            if self.plan["pass"] == "nothing":
                return b""
        return go_on

    def goes_on(self):
        """How many bytes of the request go on, once its head tells."""
        if self.plan["pass"] == "nothing":
            return 0
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self.head[:end])
        body = int(length[1]) if length else 0
        return end + 4 + (body // 2 if self.plan["pass"] == "half" else body)

    async def answer(self, content):
        """What of these bytes of the answer goes on."""
        if self.over:
            return b""
        then = self.plan["then"]
        if then in ("late", "trickle"):
            if not self.answered:
                self.shown()
            if then == "trickle":
                for byte in content:
                    self.write(bytes([byte]))
                    await asyncio.sleep(self.plan["seconds"])
            elif not self.answered:
                await asyncio.sleep(self.plan["seconds"])
            self.answered += len(content)
            return b"" if then == "trickle" else content
        if then == "cut" and self.answered + len(content) < self.plan["at"]:
            self.answered += len(content)
            return content
        self.over = True
        if then == "cut":
            self.write(content[: self.plan["at"] - self.answered])
        elif then == "answer":
            self.write(self.plan["answer"].encode())
        self.end(reset=then == "reset")
        return b""

    def transports(self):
        handler = ctx.master.addons.get("proxyserver").connections.get(self.flow.client_conn.id)
        return [] if handler is None else [(conn, io.writer) for conn, io in handler.transports.items() if io.writer]

    def write(self, content):
        for connection, writer in self.transports():
            if connection is self.flow.client_conn and not writer.is_closing():
                writer.write(content)

    def end(self, reset):
        """Ends both sides; the client's with a reset, or orderly once it has what was written."""
        self.shown()
        for connection, writer in self.transports():
            if connection is not self.flow.client_conn:
                asyncio.get_running_loop().call_later(0.05, writer.transport.abort)
            elif reset:
                # To linger for no time makes the system send RST instead of FIN.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                # With unread data in front of it the system would reset instead.
                asyncio.get_running_loop().call_later(0.05, writer.close)


addons = [FaultProxy()]
