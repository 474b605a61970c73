import { useEffect, useState } from "react";
import { sentence } from "./api.js";
import { leaveFor } from "./dialogs.js";

const FIELDS = [["email", "email"], ["username", "text"], ["first_name", "text"],
  ["last_name", "text"], ["password", "password"]];

function Form({ id, title, names, send }) {
  function submit(event) {
    event.preventDefault();
    send(Object.fromEntries(new FormData(event.target)));
  }
  return (
    <form id={id} onSubmit={submit}>
      {FIELDS.filter(([name]) => names.includes(name)).map(([name, type]) =>
        <label key={name}>{name} <input name={name} type={type} /></label>)}
      <button>{title}</button>
    </form>
  );
}

function Account({ user, providers, sessions }) {
  return (
    <section id="account">
      <h1>{user.first_name || user.email}</h1>
      <p id="email">{user.email}</p>
      <ul id="linked">
        {providers.filter(({ is_linked: isLinked }) => isLinked).map(({ label }) =>
          <li key={label}>{label}</li>)}
      </ul>
      <p id="sessions">{sessions.length}</p>
    </section>
  );
}

export function App({ config, api, brought }) {
  const [account, setAccount] = useState(null);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(true);

  async function run(task) {
    setBusy(true);
    setProblem("");
    try {
      setAccount(await task());
    } catch (error) {
      setProblem(sentence(error));
      if (error.response?.status === 401) {
        setAccount(null);
      }
    }
    setBusy(false);
  }

  const thenShow = (task) => run(async () => {
    await task;
    return api.account();
  });

  async function start() {
    if (brought?.token) {
      await api.convert(brought.backend, brought.token);
    } else if (brought) {
      throw new Error(brought.error);
    }
    return api.account().catch((error) => {
      if (error.response?.status !== 401) {
        throw error;
      }
      return null;
    });
  }

  useEffect(() => { run(start); }, []);

  return (
    <div id="app" aria-busy={isBusy}>
      <p id="problem" role="alert">{problem}</p>
      {account ? (
        <>
          <Account {...account} />
          <button id="reload" onClick={() => run(api.account)}>Reload</button>
          <button id="sign-out" onClick={() => run(() => api.signOut())}>Sign out</button>
        </>
      ) : (
        <>
          <Form id="sign-in" title="Sign in" names={["email", "password"]}
            send={({ email, password }) => thenShow(api.signIn(email, password))} />
          <Form id="sign-up" title="Sign up" names={FIELDS.map(([name]) => name)}
            send={(user) => thenShow(api.signUp(user))} />
          {Object.entries(config.dialogs).map(([backend, dialog]) =>
            <button key={backend} id={backend} onClick={() => leaveFor(backend, dialog)}>
              Continue with {dialog.label}
            </button>)}
        </>
      )}
    </div>
  );
}
