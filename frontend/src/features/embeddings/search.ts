/** The part of the page that is in the URL. Never the texts. */
export interface EmbeddingsSearch {
  model?: string;
  /** `one`: the whole field is one text, also if it has several lines. */
  as?: "one";
  /** The number of the text whose pairs are shown, from 1. */
  text?: number;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: {
    [Key in keyof EmbeddingsSearch]: EmbeddingsSearch[Key] | undefined;
  },
) => void;
