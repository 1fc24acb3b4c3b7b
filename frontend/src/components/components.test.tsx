import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { ConfirmDialog } from "@/components/ConfirmDialog";
import { CopyButton } from "@/components/CopyButton";
import { type Sort, Table } from "@/components/Table";
import { TextArea } from "@/components/TextArea";
import { TimeText } from "@/components/TimeText";
import { absoluteTime } from "@/lib/time";
import { renderPart } from "@/test/render";

function loaded<Row>(rows: Row[]) {
  return { data: { rows }, error: null, isFetching: false, refetch: () => undefined };
}

describe("Table", () => {
  const columns = [
    { id: "label", header: "Label", cell: (row: string) => row, isSortable: true },
    { id: "length", header: "Length", cell: (row: string) => row.length },
  ];
  const rowKey = (row: string) => row;
  const empty = <p>No keys</p>;

  it("asks for the sort order of a column, then for the opposite", async () => {
    const onSort = vi.fn();
    const table = (sort?: Sort) => (
      <Table
        what="keys"
        query={loaded(["ci", "prod"])}
        columns={columns}
        rowKey={rowKey}
        empty={empty}
        sort={sort}
        onSort={onSort}
      />
    );
    const { user, rerender } = renderPart(table());
    await user.click(screen.getByRole("button", { name: "Label" }));
    expect(onSort).toHaveBeenLastCalledWith({ by: "label", isDescending: false });
    rerender(table({ by: "label", isDescending: false }));
    const head = screen.getByRole("columnheader", { name: "Label" });
    expect(head).toHaveAttribute("aria-sort", "ascending");
    await user.click(within(head).getByRole("button"));
    expect(onSort).toHaveBeenLastCalledWith({ by: "label", isDescending: true });
  });

  it("marks the current row", () => {
    renderPart(
      <Table
        what="keys"
        query={loaded(["ci", "prod"])}
        columns={columns}
        rowKey={rowKey}
        empty={empty}
        currentKey="prod"
      />,
    );
    expect(screen.getByRole("row", { name: "prod 4" })).toHaveAttribute("aria-current", "true");
    expect(screen.getByRole("row", { name: "ci 2" })).not.toHaveAttribute("aria-current");
  });

  it("shows what takes the place of no rows", () => {
    renderPart(
      <Table what="keys" query={loaded([])} columns={columns} rowKey={rowKey} empty={empty} />,
    );
    expect(screen.getByText("No keys")).toBeInTheDocument();
    expect(screen.queryByRole("table")).not.toBeInTheDocument();
  });
});

describe("ConfirmDialog", () => {
  function renderDialog(typed?: string) {
    const onConfirm = vi.fn();
    const onClose = vi.fn();
    const part = renderPart(
      <ConfirmDialog
        title="Delete ada@example.com?"
        action="Delete user"
        isBusy={false}
        error={null}
        onConfirm={onConfirm}
        onClose={onClose}
        {...(typed === undefined ? {} : { typed })}
      >
        <p>This cannot be undone.</p>
      </ConfirmDialog>,
    );
    return { ...part, onConfirm, onClose };
  }

  it("starts on Cancel", async () => {
    const { user, onConfirm, onClose } = renderDialog();
    expect(screen.getByRole("button", { name: "Cancel" })).toHaveFocus();
    await user.keyboard("{Enter}");
    expect(onClose).toHaveBeenCalledOnce();
    expect(onConfirm).not.toHaveBeenCalled();
  });

  it("confirms", async () => {
    const { user, onConfirm } = renderDialog();
    await user.click(screen.getByRole("button", { name: "Delete user" }));
    expect(onConfirm).toHaveBeenCalledOnce();
  });

  it("confirms only if the text was typed", async () => {
    const { user, onConfirm } = renderDialog("ada@example.com");
    const field = screen.getByRole("textbox", { name: "Type ada@example.com to confirm" });
    await user.type(field, "bob@example.com{Enter}");
    expect(onConfirm).not.toHaveBeenCalled();
    expect(field).toBeInvalid();
    await user.clear(field);
    await user.type(field, "ada@example.com{Enter}");
    expect(onConfirm).toHaveBeenCalledOnce();
  });
});

describe("CopyButton", () => {
  it("copies and says so", async () => {
    const onCopy = vi.fn();
    renderPart(<CopyButton text="curl" target="the command" onCopy={onCopy} />);
    // `setup` provides a clipboard.
    const user = userEvent.setup();
    await user.click(screen.getByRole("button", { name: "Copy the command" }));
    expect(await navigator.clipboard.readText()).toBe("curl");
    expect(screen.getByRole("button", { name: "Copied the command" })).toBeInTheDocument();
    expect(onCopy).toHaveBeenCalledOnce();
  });
});

describe("TextArea", () => {
  it("ties label, hint and error to the field", () => {
    renderPart(<TextArea label="Prompt" hint="Any language" error="must not be empty" />);
    const field = screen.getByRole("textbox", { name: "Prompt" });
    expect(field).toBeInvalid();
    expect(field).toHaveAccessibleDescription("Must not be empty Any language");
  });
});

describe("TimeText", () => {
  it("shows the distance, and the exact time as its title", () => {
    const time = new Date(Date.now() - 3 * 60_000 - 30_000).toISOString();
    renderPart(<TimeText time={time} />);
    expect(screen.getByText("3 minutes ago")).toHaveAttribute("title", absoluteTime(time));
  });

  it("says never without a time", () => {
    renderPart(<TimeText time={null} />);
    expect(screen.getByText("Never")).toBeInTheDocument();
  });
});
