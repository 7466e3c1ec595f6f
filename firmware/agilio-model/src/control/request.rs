// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests and answers of the control socket, as JSON.

use super::{CardAction, CardControl};
use serde::Deserialize;
use serde_json::{json, Value};

/// A request. Fields that a command does not know are refused: a typo must not pass for a default.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    Counters {},
    Faults { spec: String },
    Link { up: bool },
    Card { action: CardAction },
}

/// Carries out the request in `line` and returns the answer, without a line end.
pub(super) fn answer(card: &dyn CardControl, line: &[u8]) -> String {
    let result = serde_json::from_slice(line)
        .map_err(|err| format!("bad request: {err}"))
        .and_then(|request| carry_out(card, request));
    result.unwrap_or_else(|err| refusal(&err)).to_string()
}

/// The answer to a request that was not carried out.
pub(super) fn refusal(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}

fn carry_out(card: &dyn CardControl, request: Request) -> Result<Value, String> {
    match request {
        Request::Counters {} => return Ok(json!({ "ok": true, "counters": card.counters() })),
        Request::Faults { spec } => card.set_faults(&spec)?,
        Request::Link { up } => card.set_link(up),
        Request::Card { action } => card.card(action)?,
    }
    Ok(json!({ "ok": true }))
}
