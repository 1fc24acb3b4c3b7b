import { t } from "@/components/text";
import { readAccess } from "@/lib/models";

interface Props {
  /** `models` of a user or a key. */
  models: readonly string[] | null;
  /** Only the words, without the names of models, as in a table. */
  isBrief?: boolean;
}

/** How many names are shown before “and 3 more”. */
const MAX_NAMES = 6;

/** In words which models a user or a key may use. */
export function ModelAccessText({ models, isBrief = false }: Props) {
  const { kind, allowed, denied } = readAccess(models);
  if (kind === "none") return <span className="text-danger-text">{t("models.none")}</span>;
  const words = kind === "all" ? t("models.all") : wordsFor(allowed);
  const exception = denied.length === 0 ? "" : t("models.except", { count: denied.length });
  if (isBrief) {
    const title = [...allowed, ...denied.map((name) => `!${name}`)].join(", ");
    return <span title={title === "" ? undefined : title}>{[words, exception].join("")}</span>;
  }
  return (
    <span>
      {words}
      {allowed.length > 0 && <Names names={allowed} />}
      {exception}
      {denied.length > 0 && <Names names={denied} />}
    </span>
  );
}

function Names({ names }: { names: readonly string[] }) {
  const rest = names.length - MAX_NAMES;
  return (
    <>
      {": "}
      {names.slice(0, MAX_NAMES).map((name, index) => (
        <span key={name}>
          {index > 0 && ", "}
          <code className="font-mono text-sm wrap-anywhere">{name}</code>
        </span>
      ))}
      {rest > 0 && t("models.more", { count: rest })}
    </>
  );
}

function wordsFor(allowed: readonly string[]): string {
  const count = allowed.length;
  return allowed.some((name) => name.includes("*"))
    ? t("models.patterns", { count })
    : t("models.some", { count });
}
