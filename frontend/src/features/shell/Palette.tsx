import { type KeyboardEvent, useId, useState } from "react";
import { useModal } from "@/components/use-modal";
import {
  type PaletteGroup,
  type PaletteItem,
  usePaletteItems,
} from "@/features/shell/palette-items";
import { t } from "@/features/shell/text";

const GROUPS: readonly PaletteGroup[] = ["pages", "users", "actions"];

interface Props {
  /** What was typed before the palette was there. */
  typed: string;
  onClose: () => void;
}

/** The command palette: jumps to a page or a user, or does something, by a few letters. */
export default function Palette({ typed, onClose }: Props) {
  const dialog = useModal();
  const listId = useId();
  const [words, setWords] = useState(typed);
  const [active, setActive] = useState(0);
  const { items, isSearching } = usePaletteItems(words);
  const current = items[Math.min(active, items.length - 1)];

  const run = (item: PaletteItem) => {
    onClose();
    item.run();
  };
  const press = (event: KeyboardEvent) => {
    const to = nextIndex(event.key, Math.min(active, items.length - 1), items.length);
    if (to !== undefined) {
      event.preventDefault();
      setActive(to);
      const id = items[to]?.id;
      if (id !== undefined) {
        document.getElementById(`${listId}-${id}`)?.scrollIntoView({ block: "nearest" });
      }
    } else if (event.key === "Enter" && current !== undefined) {
      event.preventDefault();
      run(current);
    }
  };

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape does the same, as `onCancel`
    <dialog
      ref={dialog}
      aria-label={t("palette.title")}
      onCancel={onClose}
      onClick={(event) => event.target === event.currentTarget && onClose()}
      className="mx-auto mt-[12vh] w-[calc(100%-2rem)] max-w-xl overflow-hidden rounded-xl border border-line bg-raised p-0 text-text shadow-overlay"
    >
      <input
        ref={placeCaret}
        type="text"
        data-initial-focus
        role="combobox"
        aria-label={t("palette.title")}
        aria-expanded="true"
        aria-controls={listId}
        aria-activedescendant={current && `${listId}-${current.id}`}
        autoComplete="off"
        spellCheck={false}
        maxLength={200}
        placeholder={t("palette.placeholder")}
        value={words}
        onChange={(event) => {
          setWords(event.target.value);
          setActive(0);
        }}
        onKeyDown={press}
        className="w-full border-line border-b bg-transparent px-4 py-3 text-lg outline-none"
      />
      <div
        id={listId}
        role="listbox"
        aria-label={t("palette.results")}
        className="max-h-[50vh] overflow-y-auto p-2"
      >
        {GROUPS.map((group) => (
          <Group
            key={group}
            listId={listId}
            title={t(`palette.groups.${group}`)}
            items={items.filter((item) => item.group === group)}
            current={current}
            onRun={run}
            onHover={(item) => setActive(items.indexOf(item))}
          />
        ))}
      </div>
      <p role="status" className="border-line border-t px-4 py-2 text-muted text-sm">
        {items.length === 0
          ? t(isSearching ? "palette.searching" : "palette.nothing")
          : t("palette.help")}
      </p>
    </dialog>
  );
}

interface GroupProps {
  listId: string;
  title: string;
  items: PaletteItem[];
  current: PaletteItem | undefined;
  onRun: (item: PaletteItem) => void;
  onHover: (item: PaletteItem) => void;
}

function Group({ listId, title, items, current, onRun, onHover }: GroupProps) {
  if (items.length === 0) return null;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of options in a listbox
    <div role="group" aria-label={title} className="pb-2 last:pb-0">
      <p aria-hidden className="px-2 py-1 font-medium text-muted text-xs">
        {title}
      </p>
      {items.map((item) => (
        // biome-ignore lint/a11y/useKeyWithClickEvents: the keys go to the field, which keeps the focus
        <div
          key={item.id}
          id={`${listId}-${item.id}`}
          role="option"
          tabIndex={-1}
          aria-selected={item === current}
          onClick={() => onRun(item)}
          onMouseMove={() => item !== current && onHover(item)}
          className="flex min-h-8.5 cursor-pointer items-center gap-2.5 rounded-md px-2 aria-selected:bg-hover"
        >
          <item.icon aria-hidden className="size-4 shrink-0 text-muted" />
          <span className="min-w-0 wrap-anywhere">{item.label}</span>
        </div>
      ))}
    </div>
  );
}

/** Goes on after what was typed already. */
function placeCaret(field: HTMLInputElement | null) {
  field?.setSelectionRange(field.value.length, field.value.length);
}

/** The option that a key leads to. The arrows wrap around. */
function nextIndex(key: string, from: number, count: number): number | undefined {
  if (count === 0) return undefined;
  switch (key) {
    case "ArrowDown":
      return (from + 1) % count;
    case "ArrowUp":
      return (from - 1 + count) % count;
    default:
      return undefined;
  }
}
