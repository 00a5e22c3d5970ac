import type { JSX } from "react";

/** Lines on a grid of 20, drawn for this console. */
const paths = {
  bell: "M10 2.5v1.2M5 14c1-1.2 1.5-2.600 1.500-5a3.500 3.500 0 0 1 7 0c0 2.400.5 3.800 1.500 5zM8.500 16.500a1.600 1.600 0 0 0 3 0",
  chat: "M4 4h12a1.500 1.500 0 0 1 1.500 1.500v7A1.500 1.500 0 0 1 16 14H9l-4 3v-3H4a1.500 1.500 0 0 1-1.500-1.500v-7A1.500 1.500 0 0 1 4 4zM10 6.500v5M7.500 9h5",
  group: "M2.500 17v-6a3.750 3.750 0 0 1 7.500 0v6zM10 17v-6a3.750 3.750 0 0 1 7.500 0v6zM2 17h16",
  search: "M8.500 14.500a6 6 0 1 0 0-12 6 6 0 0 0 0 12zM13 13l4.500 4.500",
  send: "M3 17 18 10 3 3l2.500 7zM5.500 10H12",
  back: "M12.500 4 6.500 10l6 6",
  close: "M5 5l10 10M15 5 5 15",
  more: "M4.500 9.900v.2M10 9.900v.2M15.500 9.900v.2",
  info: "M10 17.500a7.500 7.500 0 1 0 0-15 7.500 7.500 0 0 0 0 15zM10 9v5M10 6.500h.01",
  down: "M10 4v12M5 11l5 5 5-5",
  pin: "M7.500 3h5M8.500 3v5l-2.500 3h8l-2.500-3V3M10 11v6",
  muted: "M3 3l14 14M6.500 8.500C6.400 11 6 12.700 5 14h9M8 5.500a3.500 3.500 0 0 1 5.500 3c0 .9.100 1.600.2 2.300M8.500 16.500a1.600 1.600 0 0 0 3 0",
  check: "M4 10.500l4 4 8-9",
  checks: "M1.500 10.500l4 4 7.500-9M9.500 13l1.500 1.500 7.500-9",
  clock: "M10 17.500a7.500 7.500 0 1 0 0-15 7.500 7.500 0 0 0 0 15zM10 5.500V10l3 2",
  warn: "M10 3 2.500 16.500h15zM10 8.500v3.500M10 14.200h.01",
  person: "M10 9.500a3.250 3.250 0 1 0 0-6.500 3.250 3.250 0 0 0 0 6.500zM3.500 17.500a6.500 6.500 0 0 1 13 0z",
  keys: "M2.500 5.500h15v9h-15zM5.500 8.500h.01M8.500 8.500h.01M11.500 8.500h.01M14.500 8.500h.01M6 11.800h8",
  block: "M10 17.500a7.500 7.500 0 1 0 0-15 7.500 7.500 0 0 0 0 15zM4.800 4.800l10.400 10.400",
  out: "M8 3H4v14h4M8 10h9.500M14 6.500l3.500 3.500-3.500 3.500",
  trace: "M10 3v9M6 8.500 10 12.500l4-4M3.500 14v3h13v-3",
  enter: "M12 3h4v14h-4M2.500 10H12M8.500 6.500 12 10l-3.500 3.500",
} as const;

export type IconName = keyof typeof paths;

/** An icon is decoration: what it stands for is the label of its button. */
export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg className={`icon icon-${name}`} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}

/** The mark: a bell in the window of a tower. */
export function Mark(): JSX.Element {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path className="mark-window" d="M4 31V14a12 12 0 0 1 24 0v17z" />
      <path
        className="mark-bell"
        d="M16 8.200a1.500 1.500 0 0 1 1.500 1.500v.6c2.900.7 4.600 3.100 4.600 6.500 0 3.200.8 4.700 2 6v1.200H7.900v-1.200c1.200-1.300 2-2.800 2-6 0-3.400 1.700-5.800 4.600-6.500v-.6a1.500 1.500 0 0 1 1.500-1.500zM13.400 25.400h5.200a2.600 2.600 0 0 1-5.200 0z"
      />
    </svg>
  );
}
