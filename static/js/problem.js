// Something a person can read and act on. Every other error is a fault of ours and goes to the console as well.
export class Problem extends Error {
  constructor(sentence, code = "") {
    super(sentence);
    this.code = code; // the server's
  }
}
