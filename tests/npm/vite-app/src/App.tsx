import { useState } from "react";

import { useChannel, useConnection, usePresence } from "channels-realtime/react";

export function App() {
  const [room, setRoom] = useState("one");
  const { state } = useConnection();
  return (
    <>
      <p id="state">{state}</p>
      <button onClick={() => setRoom("two")}>the other room</button>
      <Room key={room} name={room} />
      <People />
    </>
  );
}

function Room({ name }: { name: string }) {
  const [texts, setTexts] = useState<string[]>([]);
  const { status, publish } = useChannel(`public/${name}`, ({ event, payload }) => {
    if (event === undefined) setTexts([...texts, payload.text]); // `texts` of the last render
  });
  return (
    <section>
      <p id="status">{`${name} ${status}`}</p>
      <ul id="texts">
        {texts.map((text, index) => (
          <li key={index}>{text}</li>
        ))}
      </ul>
      <button onClick={() => publish({ text: `from ${name}` })}>say</button>
    </section>
  );
}

function People() {
  const { count } = usePresence("devices/lobby");
  return <p id="count">{count ?? "?"}</p>;
}
