import { ChevronRight, ChevronsLeft } from "lucide-react";
import { Button } from "@/components/Button";
import type { EventPage } from "@/features/audit/queries";
import type { AuditSearch, ChangeSearch } from "@/features/audit/search";
import { t } from "@/features/audit/text";

interface Props {
  page: EventPage;
  search: AuditSearch;
  onSearch: ChangeSearch;
}

/** The way to older events. The Back button leads to the newer ones. */
export function EventPages({ page: { rows, next }, search, onSearch }: Props) {
  const first = rows[0];
  const last = rows.at(-1);
  if (first === undefined || last === undefined) return null;
  return (
    <nav
      aria-label={t("list.pages")}
      className="flex flex-wrap items-center justify-between gap-3 border-line border-t px-4 py-1.5 text-muted text-sm"
    >
      <p className="tabular-nums">{t("list.range", { first: first.id, last: last.id })}</p>
      <div className="flex gap-1">
        <Button
          size="sm"
          variant="quiet"
          icon={ChevronsLeft}
          disabled={search.before === undefined}
          onClick={() => onSearch({ before: undefined })}
        >
          {t("list.newest")}
        </Button>
        <Button
          size="sm"
          variant="quiet"
          icon={ChevronRight}
          disabled={next === undefined}
          onClick={() => onSearch({ before: next })}
        >
          {t("list.older")}
        </Button>
      </div>
    </nav>
  );
}
