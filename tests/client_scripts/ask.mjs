// Asks an OpenAI-compatible endpoint with OpenAI's client for Node, whole and streamed.
//
//     node ask.mjs PACKAGE BASE_URL MODEL FILE
//
// PACKAGE is the folder of the package `openai`; FILE holds the message. Prints what ask.py prints,
// of chat completions and, under "responses", of responses.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, baseURL, model, file] = process.argv.slice(2);
const { OpenAI } = createRequire(import.meta.url)(resolve(folder));
const client = new OpenAI({ baseURL, apiKey: "any", timeout: 3600_000, maxRetries: 0 });
const text = readFileSync(file, "utf8");

const asked = { model, messages: [{ role: "user", content: text }] };
const whole = await client.chat.completions.create(asked);
const pieces = [];
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  const said = chunk.choices[0]?.delta?.content;
  if (said) pieces.push(said);
}

const response = await client.responses.create({ model, input: text });
const deltas = [];
for await (const event of await client.responses.create({ model, input: text, stream: true })) {
  if (event.type === "response.output_text.delta") deltas.push(event.delta);
}

const told = (all, parts) => ({
  whole: all,
  streamed: parts.join(""),
  pieces: parts.length,
});
console.log(
  JSON.stringify({
    ...told(whole.choices[0].message.content, pieces),
    responses: told(response.output_text, deltas),
  }),
);
