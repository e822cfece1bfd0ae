// Written by `manage.py realtime_schema --format typescript`; do not edit.
// connect<Routes>() types the client by it.

export interface StatusChanged {
  status: "paid" | "sent";
  total: string;
  at: string | null;
}

/** A note that somebody wrote. */
export interface Note {
  text: string;
  author: string;
  lines: Array<Line>;
}

export interface Line {
  productName: string;
  pieces: number;
}

export interface Card {
  type: "card";
  last4: string;
}

export interface Cash {
  type: "cash";
}

export interface Typing {
  name: string;
  since?: number;
}

export interface LineInput {
  productName: string;
  pieces?: number;
}

export interface NewNote {
  text: string;
  lines?: Array<LineInput>;
}

export interface Rename {
  name: string;
}

export interface Filter {
  symbol?: string;
  depth?: 1 | 5;
}

export interface Routes {
  /** A user's own channel. */
  "users/<str:user_id>": {
    name: `users/${string}`;
    messages: { event?: string; payload?: any };
    publish: never;
    actions: {};
    parameters: any;
  };
  "orders/<int:order_id>": {
    name: `orders/${number}`;
    messages:
      | { event: "status"; payload: StatusChanged }
      | { event: "note"; payload: Note }
      | { event: "paid"; payload: Card | Cash }
      | { event: "cleared"; payload: null }
      | { event: "said"; payload: string | Card }
      | { event?: undefined; payload: Line }
      | { event: "typing"; payload: Typing };
    publish:
      | { event?: undefined; payload: LineInput }
      | { event: "note"; payload: NewNote }
      | { event: "paid"; payload: Card | Cash }
      | { event: "typing"; payload: Typing };
    actions: {
      rename: { payload: Rename; result: Line };
      anything: { payload: any; result: any };
      double: { payload: number; result: number };
    };
    parameters: Filter | undefined;
  };
  /** A board. */
  "boards/<slug:board>": {
    name: `boards/${string}`;
    messages:
      | { event: "status"; payload: StatusChanged }
      | { event: "note"; payload: Note }
      | { event: "paid"; payload: Card | Cash }
      | { event: "cleared"; payload: null }
      | { event: "said"; payload: string | Card }
      | { event?: undefined; payload: Line }
      | { event: "typing"; payload: Typing }
      | { event?: string; payload?: any };
    publish:
      | { event?: undefined; payload: LineInput }
      | { event: "note"; payload: NewNote }
      | { event: "paid"; payload: Card | Cash }
      | { event: "typing"; payload: Typing };
    actions: {};
    parameters: any;
  };
  "boards/<slug:board>/cards": {
    name: `boards/${string}/cards`;
    messages: { event?: undefined; payload: Card };
    publish: never;
    actions: {
      "count-all": { payload: Array<Filter>; result: { [key: string]: [number, string] } };
    };
    parameters: any;
  };
  /** Declares nothing. */
  "files.d/<path:name>": {
    name: `files.d/${string}`;
    path: true;
    messages: { event?: string; payload?: any };
    publish:
      | { event?: undefined; payload: any }
      | { event: "moved"; payload: any };
    actions: {};
    parameters: any;
  };
  "prices": {
    name: "prices";
    messages:
      | { event: "status"; payload: StatusChanged }
      | { event: "note"; payload: Note }
      | { event: "paid"; payload: Card | Cash }
      | { event: "cleared"; payload: null }
      | { event: "said"; payload: string | Card }
      | { event?: undefined; payload: Line }
      | { event: "typing"; payload: Typing };
    publish:
      | { event?: undefined; payload: LineInput }
      | { event: "note"; payload: NewNote }
      | { event: "paid"; payload: Card | Cash }
      | { event: "typing"; payload: Typing };
    actions: {
      rename: { payload: Rename; result: Line };
      anything: { payload: any; result: any };
      double: { payload: number; result: number };
    };
    parameters: Filter | undefined;
  };
  "realtime/sessions/<digest>": {
    name: `realtime/sessions/${string}`;
    messages: { event?: string; payload?: any };
    publish: never;
    actions: {};
    parameters: any;
  };
}
