// Echo and chat with ws of npm: several servers on one HTTP server and the broadcast, both as its README does them.
//
// Masks are removed by its native addon bufferutil where that could be installed, as its README advises.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { WebSocket, WebSocketServer } from 'ws';

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const port = Number(values.port);
if (!Number.isInteger(port) || port < 0 || port > 65535) {
  console.error('--port NUMBER is missing, the number is from 0 to 65535');
  process.exit(1);
}

const options = { noServer: true, maxPayload: 2 << 20, perMessageDeflate: false };
const echo = new WebSocketServer(options);
const chat = new WebSocketServer(options);

echo.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
chat.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, binary) => {
    for (const client of chat.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
    }
  });
});

const server = createServer();
server.on('upgrade', (request, socket, head) => {
  const paths = { '/echo': echo, '/chat': chat };
  const on = paths[request.url];
  if (on === undefined) {
    socket.destroy();
    return;
  }
  on.handleUpgrade(request, socket, head, (accepted) => on.emit('connection', accepted, request));
});
server.listen({ host: '127.0.0.1', port, backlog: 4096 });
