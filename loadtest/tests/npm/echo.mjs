// Echoes at /echo, and spreads what one sends to all at /chat; the first line it prints is its port.
//
// It ends when its standard input does, so that it never outlives the test.
import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 } });

server.on('connection', (socket, request) => {
  socket.on('error', (error) => console.error(error.message));
  socket.on('message', (data, binary) => {
    const all = request.url === '/chat' ? server.clients : [socket];
    for (const each of all) each.send(data, { binary });
  });
});
server.on('listening', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
