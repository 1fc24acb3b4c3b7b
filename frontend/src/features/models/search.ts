/** Which models are shown. */
export const SHOWN = ["loaded", "differing", "managed", "pulling"] as const;

/** The part of the page that is in the URL. */
export interface ModelsSearch {
  q?: string;
  show?: (typeof SHOWN)[number];
  /** The canonical name of the model whose details are shown. */
  selected?: string;
  /** The open dialog; `delete` is about the selected model. */
  open?: "pull" | "delete";
  /** The page of the pulls. */
  page?: number;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: { [Key in keyof ModelsSearch]: ModelsSearch[Key] | undefined },
  options?: { replace: boolean },
) => void;
