// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What comes in at the very moment of a hand-over.

use anyhow::{bail, ensure, Result};
use serde_json::json;

use super::{super::observe::statistic, pair::Pair, Context};

const HOSTS: [&str; 2] = ["10.99.0.2", "fd99:0::2"];
/// Bytes of an answer: as much as may be sent at once.
const ANSWER: u32 = 13_000;
/// Rules of each of three chains, of which one has each rule jump to the next: 27,000 rules for a frame.
const RULES: usize = 30;
const TRIES: u64 = 40;

/// Rules that take their time for frames with FIN, while which acknowledgements come in.
fn slow_rules() -> String {
    let chain = |name: &str, rule: &str| format!("chain {name} {{ {} }};", rule.repeat(RULES));
    format!(
        "nft 'table inet t {{ {} {} {} \
         chain o {{ type filter hook output priority 0; \
         tcp sport 7000 tcp flags & fin == fin jump a; }}; }}'",
        chain("c", "tcp dport 1 drop; "),
        chain("b", "jump c; "),
        chain("a", "jump b; "),
    )
}

/// Frames behind the lock of a socket that is handed over are dropped and counted, and nothing is lost.
pub(super) fn moment(context: &Context<'_>) -> Result<()> {
    let session = context.start(context.session())?;
    session.guest().run_ok(slow_rules())?;
    session.card(0)?.faults("delay=3")?;
    let mut pair = Pair::new(&session)?;
    for host in HOSTS {
        let before = statistic(&session, "teardown_backlog")?;
        for tried in 1.. {
            answer(&mut pair, host)?;
            if statistic(&session, "teardown_backlog")? > before {
                break;
            }
            if tried == TRIES {
                bail!("{host}: nothing came in the moment of a hand-over");
            }
        }
    }
    pair.host_is_free()?;
    pair.card_is_free()?;
    context.finish(session)
}

/// A connection that the host answers and closes while the acknowledgements of its answer are under way.
fn answer(pair: &mut Pair<'_>, host: &str) -> Result<()> {
    let before = statistic(pair.session, "teardown_handed_over")?;
    pair.open(host)?;
    pair.peer(&json!({"do": "send", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "receive", "name": "s", "size": 100}))?;
    pair.host(&json!({"do": "reply", "name": "s", "sizes": [ANSWER]}))?;
    let end = pair.peer(&json!({"do": "end", "name": "s"}))?;
    ensure!(end == json!({"kind": "end", "bytes": ANSWER}), "{end}");
    pair.peer(&json!({"do": "close", "name": "s"}))?;
    let given = statistic(pair.session, "teardown_handed_over")? - before;
    ensure!(given == 1, "handed over {given} times");
    Ok(())
}
