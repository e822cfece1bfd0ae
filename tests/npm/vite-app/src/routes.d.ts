/** As `manage.py realtime_schema --format typescript` writes it. */
export interface Routes {
  "public/<str:name>": {
    name: `public/${string}`;
    messages: { event: "typing"; payload: { name: string } } | { event?: undefined; payload: { text: string } };
    publish: { event?: undefined; payload: { text: string } };
    actions: { echo: { payload: string; result: string } };
    parameters: undefined;
  };
  "devices/<str:name>": {
    name: `devices/${string}`;
    messages: { event?: string; payload?: any };
    publish: { event?: string; payload?: any };
    actions: {};
    parameters: any;
  };
}
