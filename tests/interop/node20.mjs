// What js-libp2p takes from Node.js 22, for Node.js 20, which distributions still ship. To be imported before it.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((...both) => { [resolve, reject] = both })
  return { promise, resolve, reject }
}
