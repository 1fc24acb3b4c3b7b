import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { type Column, Table } from "@/components/Table";
import { renderPart } from "@/test/render";

interface Row {
  id: number;
}

const COLUMNS: Column<Row>[] = [{ id: "id", header: "Id", cell: ({ id }) => `row ${id}` }];

function rowsFrom(first: number, count: number): Row[] {
  return Array.from({ length: count }, (_, index) => ({ id: first + index }));
}

function Rows({ rows }: { rows: Row[] }) {
  return (
    <Table
      what="rows"
      query={{ data: { rows }, error: null, isFetching: false, refetch: () => undefined }}
      columns={COLUMNS}
      rowKey={({ id }) => id}
      empty={null}
    />
  );
}

const shown = () => screen.getAllByRole("row").length - 1;

describe("a long table", () => {
  it("begins with what fits a screen, and is complete some frames later", async () => {
    renderPart(<Rows rows={rowsFrom(0, 200)} />);
    expect(shown()).toBeLessThan(100);
    await waitFor(() => expect(shown()).toBe(200));
  });

  it("begins anew with other rows, but not if a row was added", async () => {
    const { rerender } = renderPart(<Rows rows={rowsFrom(10, 200)} />);
    await waitFor(() => expect(shown()).toBe(200));
    rerender(<Rows rows={rowsFrom(9, 201)} />);
    expect(shown()).toBe(201);
    rerender(<Rows rows={rowsFrom(1000, 200)} />);
    expect(shown()).toBeLessThan(100);
    await waitFor(() => expect(shown()).toBe(200));
  });
});
