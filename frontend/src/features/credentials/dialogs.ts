/** The dialog that is open on a page. */
export type OpenDialog =
  | { kind: "issue"; ownerId: number | undefined }
  | { kind: "show" | "rotate" | "revoke" | "end-old" | "clear-override"; id: number };
