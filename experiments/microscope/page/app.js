// The page's fixed texts, pickers and start.
"use strict";
(() => {
  const {$, make} = View, {draw, readText, recompute, state, turn} = Lab, {subject} = state;

  function useText(text, known) {
    $("text").value = text;
    state.known = known;
    if (!readText()) return;
    state.step = state.words.length - 1;
    recompute();
  }

  function freshSentence() {
    const distance = Number($("distance").value), random = Horizon.randomOf(state.fresh++);
    const {text, answer} = Horizon.sentence(subject, state.task, distance, random);
    $("sentences").value = "own";
    useText(text, answer);
  }

  function fixedTexts() {
    document.title = `${subject.title} \u2013 seqmodels microscope`;
    $("title").textContent = subject.title;
    const kinds = [...new Set(subject.models.map((model) => Texts.cells[model.cell]))];
    const last = kinds.pop(), names = kinds.length ? `${kinds.join(", ")} and ${last}` : last;
    $("lede").textContent = `${Texts.tasks[subject.task] || ""}A trained ${names} ` +
      `${kinds.length ? "run" : "runs"} inside this page. Type a sentence and see the answer ` +
      "grow word by word. Look at every gate while the sentence is read, and at how far back the " +
      "gradient reaches. Then hold a gate still, and see what the model forgets.";
    const isNumbers = subject.tokens.kind === "numbers";
    $("typing").textContent = isNumbers
      ? "Type numbers between 0 and 1; a * marks those to be added." : "Type your own sentence.";
    const meaning = "The bar below a word is the probability of the right answer after it, or of " +
      "the final answer where the right one is not known.";
    $("strip-note").textContent = "Point at a word, or use the arrow keys. " +
      (subject.classes.length ? meaning : "");
    $("gradient-words").textContent = "Training can only teach a model what its gradient " +
      "reaches. The curves show how strongly the answer at the last word depends on the state " +
      "after each earlier word. A straight fall on this logarithmic scale means that every word " +
      "takes away the same share.";
    $("gradient-note").textContent = subject.classes.length
      ? "Gradient of the log-probability of the answer with respect to h and c after each word."
      : "Gradient of the answer with respect to h and c after each word.";
    $("reach-words").textContent = "Hold a gate of all units, or of one, at a fixed value; " +
      "weaken the recurrent matrix; empty the memory in the middle of the sentence. A unit that " +
      "keeps the share f of its memory at every word has a time constant of \u22121/ln f words: " +
      "9.5 words for f = 0.9, 99.5 words for f = 0.99.";
    $("horizon-note").textContent = "An answer can outlast the time constant of a gate: it needs " +
      "only that the right answer stays ahead, and the recurrent matrix can write a memory anew. " +
      "Set the matrix to 0 to see the gate alone.";
    const places = {f4: "", f2: " Embeddings are stored in 16 bits.",
      i1: " Embeddings are stored in 8 bits."};
    $("footer").textContent = subject.models.map((model) => `${model.name}: seed ${model.seed}` +
      (model.accuracy === null ? "" : `, test accuracy ${model.accuracy.toFixed(3)}`)).join("; ") +
      `.${places[subject.precision]} ${subject.command ? `Made by: ${subject.command}` : ""}`;
  }

  // The texts speak of words and sentences; the adding problem has steps and sequences.
  function renameWords() {
    const kept = "script, #title, #footer, select, [aria-labelledby=h-reading]";
    const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
      if (nodes.currentNode.parentElement.closest(kept)) continue;
      nodes.currentNode.data = nodes.currentNode.data.replace(/\bword(s?)\b/g, "step$1")
        .replace(/([Ss])entence/g, "$1equence");
    }
  }

  function start() {
    fixedTexts();
    if (subject.tokens.kind === "numbers") renameWords();
    $("model").replaceChildren(...subject.models.map((model, k) =>
      make("option", {value: k}, model.name)));
    const short = (text) => text.length > 60 ? `${text.slice(0, 57)}\u2026` : text;
    $("sentences").replaceChildren(
      ...subject.sentences.map(({text}, k) => make("option", {value: k}, short(text))),
      make("option", {value: "own"}, "your own"));
    $("model").addEventListener("change", () => {
      Controls.useModel(Number($("model").value));
      recompute();
    });
    $("sentences").addEventListener("change", () => {
      const chosen = subject.sentences[Number($("sentences").value)];
      if (chosen) useText(chosen.text, chosen.answer);
    });
    let typed = 0;
    $("text").addEventListener("input", () => {
      clearTimeout(typed);
      $("sentences").value = "own";
      typed = setTimeout(() => {
        state.known = null;
        if (!readText()) return;
        state.step = state.words.length - 1;
        recompute();
      }, 120);
    });
    if (state.task) {
      const {distances} = subject, trained = subject.models[0].distance;
      $("fresh").hidden = false;
      $("fresh-label").textContent = state.task.kind === "sky" ? "words between clue and question"
        : "length";
      $("distance").max = distances[distances.length - 1];
      $("distance").min = state.task.kind === "sky" ? 0 : 2;
      $("distance").value = trained === null ? distances[distances.length >> 1] : trained;
      $("distance").addEventListener("input", () => {
        $("distance-out").textContent = $("distance").value;
      });
      $("distance-out").textContent = $("distance").value;
      $("new").addEventListener("click", freshSentence);
    }
    Controls.connect();
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth !== width) draw();
      width = window.innerWidth;
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    Controls.useModel(0);
    useText(subject.sentences[0].text, subject.sentences[0].answer);
    document.documentElement.dataset.ready = Math.round(performance.now());
  }

  start();
})();
