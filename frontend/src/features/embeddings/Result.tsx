import { useMemo, useState } from "react";
import { Button } from "@/components/Button";
import { CopyButton } from "@/components/CopyButton";
import { Panel } from "@/components/Panel";
import { Select } from "@/components/Select";
import { type Column, Table } from "@/components/Table";
import { type Pair, pairsOf } from "@/features/embeddings/cosine";
import { HeatMap } from "@/features/embeddings/HeatMap";
import type { Embedding, Embeddings } from "@/features/embeddings/queries";
import type { ChangeSearch, EmbeddingsSearch } from "@/features/embeddings/search";
import { t } from "@/features/embeddings/text";

interface Props {
  result: Embeddings;
  search: EmbeddingsSearch;
  onSearch: ChangeSearch;
}

/** The number of pairs that are shown at first. */
const FIRST_PAIRS = 50;

export function Result({ result, search, onSearch }: Props) {
  const { rows, model, tokens } = result;
  const length = rows[0]?.vector.length ?? 0;
  return (
    <>
      <Panel
        title={t("result.title")}
        description={
          tokens === undefined
            ? t("result.of", { model })
            : `${t("result.of", { model })} ${t("result.tokens", { count: tokens })}`
        }
        actions={<CopyButton text={vectorsAsJson(rows)} target={t("result.target")} />}
      >
        <p role="status" className="font-semibold text-lg tabular-nums">
          {t("result.length", { length })}
        </p>
        {rows.length === 1 && (
          <p className="mt-1 font-mono text-muted text-xs wrap-anywhere">
            {preview(rows[0]?.vector ?? [])}
          </p>
        )}
      </Panel>
      {rows.length > 1 && <Similarities rows={rows} search={search} onSearch={onSearch} />}
    </>
  );
}

interface SimilaritiesProps {
  rows: readonly Embedding[];
  search: EmbeddingsSearch;
  onSearch: ChangeSearch;
}

function Similarities({ rows, search, onSearch }: SimilaritiesProps) {
  const pairs = useMemo(() => pairsOf(rows.map(({ vector }) => vector)), [rows]);
  const [isWhole, setIsWhole] = useState(false);
  const columns = useMemo(() => columnsOf(rows), [rows]);
  const selected = search.text !== undefined && search.text <= rows.length ? search.text - 1 : -1;
  const wanted = pairs.filter(({ a, b }) => selected === -1 || a === selected || b === selected);
  const shown = isWhole ? wanted : wanted.slice(0, FIRST_PAIRS);
  return (
    <Panel title={t("pairs.title")} description={t("pairs.description")} isFlush>
      <div className="grid items-start gap-4 px-4 pb-4 xl:grid-cols-[minmax(0,22rem)_minmax(0,1fr)]">
        <HeatMap count={rows.length} pairs={pairs} selected={selected} />
        <div className="flex min-w-0 flex-col gap-3">
          <div className="max-w-md">
            <Select
              label={t("pairs.of")}
              value={String(selected + 1)}
              onChange={(event) => onSearch({ text: Number(event.target.value) || undefined })}
              options={[
                { value: "0", label: t("pairs.all") },
                ...rows.map(({ text }, index) => ({
                  value: String(index + 1),
                  label: `${index + 1} · ${short(text)}`,
                })),
              ]}
            />
          </div>
          <Table
            what={t("pairs.what")}
            query={{ data: { rows: shown }, error: null, isFetching: false, refetch: () => null }}
            columns={columns}
            rowKey={({ a, b }) => `${a}-${b}`}
            empty={null}
            stackBelow="sm"
          />
          {shown.length < wanted.length && (
            <div>
              <Button size="sm" onClick={() => setIsWhole(true)}>
                {t("pairs.more", { count: wanted.length })}
              </Button>
            </div>
          )}
        </div>
      </div>
    </Panel>
  );
}

function columnsOf(rows: readonly Embedding[]): Column<Pair>[] {
  const cell = (index: number) => (
    <span>
      <span className="text-muted tabular-nums">{index + 1}</span> {rows[index]?.text}
    </span>
  );
  return [
    { id: "a", header: t("pairs.column.a"), cell: ({ a }) => cell(a) },
    { id: "b", header: t("pairs.column.b"), cell: ({ b }) => cell(b) },
    {
      id: "cosine",
      header: t("pairs.column.cosine"),
      align: "end",
      cell: ({ cosine }) => (
        <span className="whitespace-nowrap">{cosine.toFixed(3).replace("-", "−")}</span>
      ),
    },
  ];
}

function vectorsAsJson(rows: readonly Embedding[]): string {
  return JSON.stringify(rows.map(({ vector }) => vector));
}

/** The first numbers of a vector. */
function preview(vector: readonly number[]): string {
  const first = vector.slice(0, 8).map((value) => value.toFixed(4));
  return `[${first.join(", ")}${vector.length > 8 ? ", …" : ""}]`;
}

function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
