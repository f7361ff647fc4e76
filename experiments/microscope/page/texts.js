// The fixed texts of the page: names, equations, captions.
"use strict";
const Texts = {
  tasks: {
    sky: "The first words of a sentence imply a color of the sky without its name; many other " +
      "words follow, and then the question. To answer, a network has to remember. ",
    adding: "Two numbers of a long sequence are marked, and the network has to remember both and " +
      "give their sum. ",
  },
  // What is read at each step; the adding problem has steps of numbers.
  one: "word", many: "words",
  cells: {
    rnn: "RNN", rnn_relu: "RNN, ReLU", gru: "GRU", gru_after: "GRU", lstm: "LSTM",
    bilstm: "bidirectional LSTM",
  },
  colors: {
    rnn: "--rnn", rnn_relu: "--rnn", gru: "--gru", gru_after: "--gru", lstm: "--lstm",
    bilstm: "--bilstm",
  },
  // Rows of the heat maps: [gate, kind of colors, name, meaning].
  maps: {
    lstm: [
      ["f", "gate", "forget gate", "the share of its memory that a unit keeps"],
      ["i", "gate", "input gate", "the share of the candidate that is written"],
      ["o", "gate", "output gate", "the share of the memory that is shown"],
      ["g", "state", "candidate", "what could be written, between \u22121 and 1"],
      ["c", "state", "cell state", "the memory"],
      ["h", "state", "hidden state", "what a unit shows to the other units and to the answer"],
    ],
    gru: [
      ["z", "gate", "update gate", "the share of the old state that a unit keeps"],
      ["r", "gate", "reset gate", "the share of the old state that the candidate sees"],
      ["n", "state", "candidate", "what could be written, between \u22121 and 1"],
      ["h", "state", "hidden state", "memory and output in one"],
    ],
    rnn: [["h", "state", "hidden state", "memory and output in one"]],
  },
  turned: {lstm: ["f", "i", "o"], gru: ["z", "r"], rnn: []},
  keeper: {lstm: "f", gru: "z", rnn: null},
  equations: {
    lstm: "i, f, o = sigmoid(x W_x + h W_h + b)    gates, between 0 and 1\n" +
      "g       = tanh(x W_x + h W_h + b)       candidate, between \u22121 and 1\n" +
      "c       = f \u00d7 c + i \u00d7 g                 keep a share, add a share\n" +
      "h       = o \u00d7 tanh(c)                   show a share",
    gru: "r, z = sigmoid(x W_x + h W_h + b)       gates, between 0 and 1\n" +
      "n    = tanh(x W_x + (r \u00d7 h) W_n + b)    candidate, between \u22121 and 1\n" +
      "h    = z \u00d7 h + (1 \u2212 z) \u00d7 n             keep a share, add the rest",
    gru_after: "r, z = sigmoid(x W_x + h W_h + b)           gates, between 0 and 1\n" +
      "n    = tanh(x W_x + b + r \u00d7 (h W_n + b_n))  candidate, between \u22121 and 1\n" +
      "h    = z \u00d7 h + (1 \u2212 z) \u00d7 n                 keep a share, add the rest",
    rnn: "h = tanh(x W_x + h W_h + b)    everything is rewritten at every word",
    rnn_relu: "h = max(0, x W_x + h W_h + b)    everything is rewritten at every word",
  },
  explained: {
    lstm: "Every row is one unit, every column one word. A sigmoid gate is a valve: 0 is shut, 1 " +
      "is open. Where the forget gate f of a unit stays near 1, its cell state c carries a value " +
      "from word to word unchanged. Where the input gate i opens, something is written; where " +
      "the output gate o opens, it is read.",
    gru: "Every row is one unit, every column one word. The update gate z is a valve: where it " +
      "is near 1, a unit keeps its state; where it is near 0, the candidate takes its place. The " +
      "reset gate r decides how much of the old state the candidate sees.",
    rnn: "Every row is one unit, every column one word. A simple RNN has one state and no gates: " +
      "at every word the whole state is multiplied by one matrix and squashed again. Nothing " +
      "protects a value from the words that follow.",
  },
  attempts: {
    lstm: [
      ["Forget gate at 0.9", {f: 0.9}], ["Forget gate fully open", {f: 1}],
      ["Input gate half open", {i: 0.5}], ["No recurrent matrix", {scale: 0}],
      ["Only the forget gate: 0.9, matrix 0", {f: 0.9, scale: 0}],
    ],
    gru: [
      ["Update gate at 0.9", {z: 0.9}], ["Update gate fully open", {z: 1}],
      ["Reset gate open", {r: 1}], ["No recurrent matrix", {scale: 0}],
    ],
    rnn: [
      ["Matrix \u00d7 0.8", {scale: 0.8}], ["Matrix \u00d7 1.2", {scale: 1.2}],
      ["No recurrent matrix", {scale: 0}],
    ],
  },
  family: (kind) => kind.startsWith("gru") ? "gru" : kind.startsWith("rnn") ? "rnn" : "lstm",
};
