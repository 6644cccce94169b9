#!/usr/bin/env node
// npm's solc as a compiler on the command line: standard JSON in, standard JSON out; and --version, as forge asks.
// Imports are looked up in node_modules beside this file.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import solc from 'solc'

if (process.argv.includes('--version')) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version().replace('Emscripten.clang', 'Linux.g++')}`)
} else {
  const packages = join(dirname(fileURLToPath(import.meta.url)), 'node_modules')
  const find = (path) => {
    try {
      return { contents: readFileSync(join(packages, path), 'utf8') }
    } catch (error) {
      return { error: String(error) }
    }
  }
  process.stdout.write(solc.compile(readFileSync(0, 'utf8'), { import: find }))
}
