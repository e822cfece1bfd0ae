// The peer: socket.io with its Redis adapter, as its documentation has it. node server.js PORT REDIS_URL
const { createServer } = require("node:http");
const { createAdapter } = require("@socket.io/redis-adapter");
const { Redis } = require("ioredis");
const { Server } = require("socket.io");

const [port, redisUrl] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { transports: ["websocket"] });

if (redisUrl) {
  const publisher = new Redis(redisUrl);
  io.adapter(createAdapter(publisher, publisher.duplicate()));
}

io.on("connection", (socket) => {
  socket.on("subscribe", async ({ channel }) => {
    await socket.join(channel);
    socket.emit("subscribed", {});
  });
  socket.on("publish", ({ channel, payload }) => io.to(channel).emit("message", payload));
  socket.on("ask", () => socket.emit("pong", {}));
});

http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
