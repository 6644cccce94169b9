// A foreign client of one Stretto node: js-libp2p with TCP, noise, yamux and GossipSub, driven by lines of JSON.
//
//   node client.mjs '{"seed": HEX, "address": MULTIADDR, "topic": TOPIC}'
//
// Standard input takes {"publish": HEX}, {"request": HEX, "id": N} (a request on the SYNC stream) and {"end": true};
// standard output gives {"event": "connected" | "subscribed" | "published" | "message" | "response" | "refusal" |
// "closed", ...}. The wire is described in docs/formats.md, "Between nodes".
import './node20.mjs'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const given = JSON.parse(process.argv[2])
const hex = (bytes) => Buffer.from(bytes.subarray()).toString('hex')
const say = (event, rest = {}) => process.stdout.write(JSON.stringify({ event, ...rest }) + '\n')

const SYNC = '/stretto/1/sync'
const REQUEST = 1
const RESPONSE = 2
const REFUSAL = 3
const KINDS = { [RESPONSE]: 'response', [REFUSAL]: 'refusal' }

const node = await createLibp2p({
  privateKey: await generateKeyPairFromSeed('Ed25519', Buffer.from(given.seed, 'hex')),
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { reconnectRetries: 0 },
  services: {
    identify: identify(),
    pubsub: gossipsub({ allowPublishToZeroTopicPeers: true, globalSignaturePolicy: 'StrictSign' })
  }
})

// The node opens a stream of each class towards us. Consensus and payloads are read and left alone; on SYNC come answers:
// 4 bytes of length, then kind (1 byte), id (8 bytes) and body.
const ignored = async (stream) => {
  try {
    for await (const _ of stream) { /* nothing to do */ }
  } catch { /* it ended */ }
}
await node.handle('/stretto/1/consensus', ignored)
await node.handle('/stretto/1/payload', ignored)
await node.handle(SYNC, async (stream) => {
  let held = Buffer.alloc(0)
  try {
    for await (const chunk of stream) {
      held = Buffer.concat([held, chunk.subarray()])
      while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
        const frame = held.subarray(4, 4 + held.readUInt32BE(0))
        held = held.subarray(4 + frame.length)
        const kind = KINDS[frame[0]]
        if (kind) say(kind, { id: Number(frame.readBigUInt64BE(1)), data: frame.subarray(9).toString('hex') })
      }
    }
  } catch { /* it ended */ }
})

node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.topic === given.topic) say('message', { from: String(detail.from), data: hex(detail.data) })
})
node.services.pubsub.addEventListener('subscription-change', ({ detail }) => {
  if (detail.subscriptions.some((each) => each.topic === given.topic && each.subscribe)) say('subscribed')
})
node.addEventListener('connection:close', () => say('closed'))

await node.start()
node.services.pubsub.subscribe(given.topic)
const connection = await node.dial(multiaddr(given.address))
say('connected', { peer: String(connection.remotePeer), me: String(node.peerId) })

let sync = null
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line)
  if (asked.end) break
  if (asked.publish) {
    const { recipients } = await node.services.pubsub.publish(given.topic, Buffer.from(asked.publish, 'hex'))
    say('published', { recipients: recipients.length })
  }
  if (asked.request) {
    sync ??= await connection.newStream(SYNC)
    const body = Buffer.from(asked.request, 'hex')
    const frame = Buffer.alloc(13 + body.length)
    frame.writeUInt32BE(9 + body.length, 0)
    frame[4] = REQUEST
    frame.writeBigUInt64BE(BigInt(asked.id), 5)
    body.copy(frame, 13)
    sync.send(frame)
  }
}
await node.stop()
process.exit(0)
