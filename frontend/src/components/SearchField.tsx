import { Search, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { IconButton } from "@/components/IconButton";
import { t } from "@/components/text";

interface Props {
  /** The accessible name and the placeholder. */
  label: string;
  /** The search in effect, usually from the URL. */
  value: string;
  /** Called when the typing pauses, and at once on Enter. */
  onSearch: (value: string) => void;
}

/** How long the typing must pause, in milliseconds. */
const PAUSE_TIMEOUT = 250;

/** Searches a list on the server. */
export function SearchField({ label, value, onSearch }: Props) {
  const [draft, setDraft] = useState(value);
  const [seen, setSeen] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const sent = useRef(value);
  useEffect(() => () => clearTimeout(timer.current), []);
  if (value !== seen) {
    setSeen(value);
    // A search that came from elsewhere, such as the Back button, replaces the text.
    if (value !== sent.current) setDraft(value);
  }

  const search = (text: string) => {
    clearTimeout(timer.current);
    sent.current = text;
    onSearch(text);
  };
  const type = (text: string) => {
    setDraft(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => search(text.trim()), PAUSE_TIMEOUT);
  };

  return (
    <div className="relative block min-w-0">
      <Search aria-hidden className="absolute inset-y-0 start-2.5 my-auto size-4 text-muted" />
      <input
        type="text"
        inputMode="search"
        enterKeyHint="search"
        autoComplete="off"
        spellCheck={false}
        aria-label={label}
        placeholder={label}
        value={draft}
        maxLength={200}
        onChange={(event) => type(event.target.value)}
        onKeyDown={(event) => event.key === "Enter" && search(draft.trim())}
        className="control ps-8.5 pe-9"
      />
      {draft !== "" && (
        <div className="absolute inset-y-0 end-0.5 flex items-center">
          <IconButton
            icon={X}
            label={t("search.clear", { label })}
            onClick={() => {
              setDraft("");
              search("");
            }}
          />
        </div>
      )}
    </div>
  );
}
