/** Texts that run as script where a page takes them for markup, addresses or code. */

import assert from "node:assert/strict";
import type { Page } from "playwright-core";

const RUN = "window.pwned=1";
const WAIT_MS = 10_000;

export const PAYLOADS: readonly string[] = [
  `<script>${RUN}</script>`,
  `</script><script>${RUN}</script>`,
  `<img src=x onerror="${RUN}">`,
  `<img src=x onerror=${RUN}//`,
  `<svg onload="${RUN}">`,
  `<svg/onload=${RUN}>`,
  `<svg><script>${RUN}</script></svg>`,
  `<svg><animate onbegin="${RUN}" attributeName=x dur=1s>`,
  `<math><mtext><img src=x onerror="${RUN}"></mtext></math>`,
  `<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>`,
  `<iframe src="javascript:parent.pwned=1"></iframe>`,
  `<object data="javascript:${RUN}"></object>`,
  `<embed src="javascript:${RUN}">`,
  `<a href="javascript:${RUN}">click</a>`,
  `<a href="JaVaScRiPt:${RUN}">click</a>`,
  `<a href="data:text/html,<script>opener.pwned=1</script>">click</a>`,
  `<form action="javascript:${RUN}"><button>go</button></form>`,
  `<button formaction="javascript:${RUN}">go</button>`,
  `<input autofocus onfocus="${RUN}">`,
  `<details open ontoggle="${RUN}"><summary>x</summary></details>`,
  `<body onload="${RUN}">`,
  `<video><source onerror="${RUN}"></video>`,
  `<audio src=x onerror="${RUN}">`,
  `<marquee onstart="${RUN}">x</marquee>`,
  `<style>@import 'data:text/css,*{background:red}';</style>`,
  `<style onload="${RUN}"></style>`,
  `<link rel=stylesheet href="data:text/css,*{display:none}">`,
  `<meta http-equiv=refresh content="0;url=javascript:${RUN}">`,
  `<base href="https://example.invalid/">`,
  `<template><script>${RUN}</script></template>`,
  `<noscript><p title="</noscript><img src=x onerror=${RUN}>">`,
  `"><img src=x onerror="${RUN}">`,
  `'><svg onload='${RUN}'>`,
  `" onmouseover="${RUN}" autofocus onfocus="${RUN}`,
  `javascript:${RUN}`,
  "${window.pwned=1}",
  "{{constructor.constructor('window.pwned=1')()}}",
  `[click](javascript:${RUN})`,
  `![x](x"onerror="${RUN})`,
  `<!--><img src=x onerror="${RUN}">-->`,
];

/** Fails a check when a payload ran: by its flag, by a dialog, or by a part of it that became an element. */
export async function guard(page: Page): Promise<(where: string) => Promise<void>> {
  const dialogs: string[] = [];
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  return async (where) => {
    const found = await page.evaluate(() => ({
      flag: (window as unknown as { pwned?: number }).pwned,
      elements: document.querySelectorAll("img, iframe, object, embed, marquee, video, audio, math, base, main script, main style, [onerror], [onload], [onfocus], [href^='javascript:' i]").length,
    }));
    assert.deepEqual({ ...found, dialogs }, { flag: undefined, elements: 0, dialogs: [] }, where);
  };
}

/** Fails unless each text comes to stand in the page letter by letter. */
export async function literally(page: Page, texts: readonly string[], where: string): Promise<void> {
  const look = () => page.evaluate(() => document.body.textContent + [...document.querySelectorAll<HTMLInputElement>("input, textarea")].map((field) => field.value).join("\n"));
  let missing = texts;
  for (const until = Date.now() + WAIT_MS; missing.length && Date.now() < until; ) {
    const seen = await look();
    missing = texts.filter((text) => !seen.includes(text));
  }
  assert.deepEqual(missing, [], `not shown as they are, ${where}`);
}
