import { ChevronLeft, ChevronRight } from "lucide-react";
import { Button } from "@/components/Button";
import { t } from "@/components/text";

interface Props {
  /** What the list shows, as in “users”. */
  what: string;
  /** From 1. */
  page: number;
  pageSize: number;
  total: number;
  onPage: (page: number) => void;
}

/** The range of rows that is shown, with the way to the next ones. */
export function Pagination({ what, page, pageSize, total, onPage }: Props) {
  // Also while the first rows are being loaded: nothing below the list is there to move.
  if (total === 0) return null;
  const first = (page - 1) * pageSize + 1;
  const last = Math.min(page * pageSize, total);
  return (
    <nav
      aria-label={t("list.page", { what })}
      className="flex items-center justify-between gap-3 border-line border-t px-4 py-1.5 text-muted text-sm"
    >
      <p className="tabular-nums">
        {t("list.range", { first: Math.min(first, last), last, total })}
      </p>
      {total > pageSize && (
        <div className="flex gap-1">
          <Button
            size="sm"
            variant="quiet"
            icon={ChevronLeft}
            disabled={page <= 1}
            target={t("list.of", { what })}
            onClick={() => onPage(page - 1)}
          >
            {t("list.previous")}
          </Button>
          <Button
            size="sm"
            variant="quiet"
            icon={ChevronRight}
            disabled={last >= total}
            target={t("list.of", { what })}
            onClick={() => onPage(page + 1)}
          >
            {t("list.next")}
          </Button>
        </div>
      )}
    </nav>
  );
}
