import { createContext } from "react";

/** What the token may do beside looking. */
export interface Rights {
  write: boolean;
  /** It may ask how the cluster does, and there is one. */
  cluster: boolean;
}

export const RightsContext = createContext<Rights>({ write: false, cluster: false });
