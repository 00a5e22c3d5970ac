import type { JSX } from "react";
import { isGroup, nameOf } from "./conv.ts";

/** How many colours people and groups have: see .avatar in style/parts.css. */
const colours = 8;

/** The same colour for a name on every device. */
function colourOf(conv: string): number {
  let hash = 0;
  for (let i = 0; i < conv.length; i++) hash = (hash * 31 + conv.charCodeAt(i)) >>> 0;
  return hash % colours;
}

function initials(label: string): string {
  const words = label.split(/[\s._-]+/).filter((w) => w !== "");
  const first = [...(words[0] ?? label)][0] ?? "?";
  const second = words.length > 1 ? ([...words[1]!][0] ?? "") : "";
  return (first + second).toLocaleUpperCase();
}

const arch = "M0 42V20a20 20 0 0 1 40 0v22a2 2 0 0 1-2 2H2a2 2 0 0 1-2-2z";
/** The arch behind, and the one before it. */
const arches = ["M9 42V15.500a15.500 15.500 0 0 1 31 0V42a2 2 0 0 1-2 2H11a2 2 0 0 1-2-2z", "M0 42V25.500a16.500 16.500 0 0 1 33 0V42a2 2 0 0 1-2 2H2a2 2 0 0 1-2-2z"] as const;

/** A window of the tower: one arch for a person, one before another for a group. */
export function Avatar({ conv, label, online }: { conv: string; label?: string; online?: boolean }): JSX.Element {
  const group = isGroup(conv);
  return (
    <span className={`avatar colour-${colourOf(conv)}`} aria-hidden="true">
      <svg viewBox="0 0 40 44" focusable="false">
        {group && <path className="behind" d={arches[0]} />}
        <path className={group ? "before" : undefined} d={group ? arches[1] : arch} />
        <text x={group ? 16.5 : 20} y={group ? 28.5 : 26.5} fontSize={group ? 15 : 17} dominantBaseline="central" textAnchor="middle">
          {initials(label ?? nameOf(conv))}
        </text>
      </svg>
      {online && <span className="lamp" />}
    </span>
  );
}
