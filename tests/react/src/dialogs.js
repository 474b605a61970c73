// Facebook's and Google's dialogs, asked for an access token that convert-token takes.
const TRIP = "dialog";

export function leaveFor(backend, { dialog, clientId, scope }) {
  const state = crypto.randomUUID();
  sessionStorage.setItem(TRIP, JSON.stringify({ backend, state }));
  location.assign(`${dialog}?${new URLSearchParams({
    client_id: clientId, redirect_uri: `${location.origin}/`, response_type: "token", scope, state,
  })}`);
}

/** {backend, token} or {backend, error} of a dialog that this tab has opened, else null. */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1));
  const { backend, state } = JSON.parse(sessionStorage.getItem(TRIP) ?? "{}");
  history.replaceState(null, "", location.pathname);
  sessionStorage.removeItem(TRIP);
  if (!state || found.get("state") !== state) {
    return null;
  }
  return {
    backend, token: found.get("access_token"),
    error: found.get("error_description") ?? found.get("error"),
  };
}
