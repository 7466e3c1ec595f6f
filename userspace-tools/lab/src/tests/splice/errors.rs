// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What cannot be spliced, and why: each errno of `include/uapi/linux/acceltcp.h`.

use anyhow::{ensure, Context as _, Result};
use serde_json::{json, Value};

use super::{
    super::observe::{guest_until, statistic_until},
    middle::{Middle, PORT, V4},
    Context,
};

const SOL_TCP: u32 = 6;
const TCP_MAXSEG: u32 = 2;
const SOL_IP: u32 = 0;
const IP_OPTIONS: u32 = 4;

fn both() -> Value {
    json!({"do": "splice", "name": "a", "other": "b"})
}

pub(super) fn errors(context: &Context<'_>) -> Result<()> {
    let one_pair = ["--spliced-pairs", "1"];
    let session = context.start(context.session().cards(2).model_args(one_pair))?;
    let mut middle = Middle::new(&session, 0)?;
    arguments(&mut middle).context("arguments")?;
    states(&mut middle).context("states")?;
    served(&mut middle).context("options")?;
    under_way(&mut middle).context("data under way")?;
    cards(&mut middle).context("cards")?;
    context.finish(session)
}

/// As if nothing had been tried.
fn usable(middle: &mut Middle<'_>) -> Result<()> {
    let info = middle.info("a")?;
    ensure!(info["state"] == "none", "{info}");
    middle.client(&json!({"do": "stream", "name": "c", "size": 2000}))?;
    middle.host(&json!({"do": "copy", "name": "a", "other": "b", "size": 2000}))?;
    middle.server(&json!({"do": "receive", "name": "s", "size": 2000}))?;
    middle.server(&json!({"do": "stream", "name": "s", "size": 2000}))?;
    middle.host(&json!({"do": "copy", "name": "b", "other": "a", "size": 2000}))?;
    middle
        .client(&json!({"do": "receive", "name": "c", "size": 2000}))
        .map(drop)
}

fn arguments(middle: &mut Middle<'_>) -> Result<()> {
    middle.open(V4)?;
    let with = |extra: Value| {
        let mut step = both();
        for (name, value) in extra.as_object().into_iter().flatten() {
            step[name.as_str()] = value.clone();
        }
        step
    };
    middle.refused(&with(json!({"flags": 1 << 5})), "EINVAL")?;
    middle.refused(&with(json!({"reserved": 1})), "EINVAL")?;
    middle.refused(&with(json!({"other": "a"})), "EINVAL")?;
    middle.refused(&with(json!({"fd": 9999})), "EBADF")?;
    middle.refused(&with(json!({"fd": -1})), "EBADF")?;
    let pipe = middle.host(&json!({"do": "pipe"}))?;
    middle.refused(&with(json!({"fd": pipe})), "ENOTSOCK")?;
    middle.host(&json!({"do": "fresh", "name": "n", "flags": null}))?;
    middle.refused(&with(json!({"other": "n"})), "ENOPROTOOPT")?;
    middle.refused(&json!({"do": "unsplice", "name": "a"}), "EINVAL")?;
    usable(middle)?;
    middle.host(&json!({"do": "close", "name": "n"}))?;
    middle.close(true, true)
}

fn states(middle: &mut Middle<'_>) -> Result<()> {
    middle.open(V4)?;
    middle.host(&json!({"do": "fresh", "name": "n"}))?;
    for other in ["n", "l"] {
        middle.refused(
            &json!({"do": "splice", "name": "a", "other": other}),
            "ENOTCONN",
        )?;
        middle.refused(
            &json!({"do": "splice", "name": other, "other": "a"}),
            "ENOTCONN",
        )?;
    }
    usable(middle)?;
    middle.host(&json!({"do": "shutdown", "name": "b"}))?;
    middle
        .refused(&both(), "EBUSY")
        .context("closed by the guest")?;
    middle.close(true, true)?;

    middle.open(V4)?;
    middle.server(&json!({"do": "shutdown", "name": "s"}))?;
    middle.host(&json!({"do": "end", "name": "b"}))?;
    middle
        .refused(&both(), "EBUSY")
        .context("closed by the server")?;
    middle.close(true, true)?;

    middle.open_spliced(V4)?;
    middle.refused(&both(), "EBUSY").context("spliced")?;
    // The card has one place.
    let connect = json!({"do": "connect", "name": "d", "host": V4[0], "port": PORT});
    for name in ["d", "e"] {
        let mut connect = connect.clone();
        connect["name"] = json!(name);
        middle.client(&connect)?;
        middle.host(&json!({"do": "accept", "name": name, "listener": "l"}))?;
    }
    let others = json!({"do": "splice", "name": "d", "other": "e"});
    middle.refused(&others, "ENOSPC")?;
    middle.refused(&json!({"do": "splice", "name": "d", "other": "a"}), "EBUSY")?;
    middle.up(5000)?;
    middle.client(&json!({"do": "shutdown", "name": "c"}))?;
    middle.sees(false, "end", 5000)?;
    middle.server(&json!({"do": "shutdown", "name": "s"}))?;
    middle.sees(true, "end", 0)?;
    middle.over("closed")?;
    middle.refused(&json!({"do": "unsplice", "name": "a"}), "EALREADY")?;
    for name in ["d", "e", "n"] {
        middle.host(&json!({"do": "close", "name": name}))?;
        if name != "n" {
            middle.client(&json!({"do": "close", "name": name}))?;
        }
    }
    middle.close(true, true)
}

/// What a card cannot serve.
fn served(middle: &mut Middle<'_>) -> Result<()> {
    for what in ["TCP-MD5", "IP options"] {
        middle.open(V4)?;
        middle.host(&match what {
            "TCP-MD5" => json!({"do": "key", "name": "b"}),
            _ => json!({
                "do": "option", "name": "b", "level": SOL_IP, "number": IP_OPTIONS, "value": "01010101",
            }),
        })?;
        middle.refused(&both(), "EOPNOTSUPP").context(what)?;
        usable(middle)?;
        middle.close(true, true)?;
    }
    let segment = |size: u32| json!({"do": "option", "name": "l", "level": SOL_TCP, "number": TCP_MAXSEG, "value": size});
    middle.server(&segment(536))?;
    middle.open(V4)?;
    middle.refused(&both(), "EMSGSIZE")?;
    usable(middle)?;
    middle.server(&segment(1460))?;
    middle.close(true, true)
}

/// The client takes nothing of what the guest has sent: more than the card takes over.
fn under_way(middle: &mut Middle<'_>) -> Result<()> {
    const NONBLOCK: u32 = 1;
    const SENT: u64 = 120_000;
    const SOL_SOCKET: u32 = 1;
    const SO_SNDBUFFORCE: u32 = 32;
    let connect =
        json!({"do": "connect", "name": "c", "host": V4[0], "port": PORT, "rcvbuf": 4096});
    middle.client(&connect)?;
    middle.host(&json!({"do": "accept", "name": "a", "listener": "l"}))?;
    middle.open_server(V4)?;
    let room = json!({
        "do": "option", "name": "a", "level": SOL_SOCKET, "number": SO_SNDBUFFORCE, "value": 4 * SENT,
    });
    middle.host(&room)?;
    middle.host(&json!({"do": "stream", "name": "a", "size": SENT}))?;
    let splice = json!({"do": "splice", "name": "a", "other": "b", "flags": NONBLOCK});
    middle.refused(&splice, "EAGAIN")?;
    // The other way round it is the same.
    middle.refused(
        &json!({"do": "splice", "name": "b", "other": "a", "flags": NONBLOCK}),
        "EAGAIN",
    )?;
    middle.client(&json!({"do": "receive", "name": "c", "size": SENT}))?;
    // The only number is taken for a while after the end of a pair.
    statistic_until(middle.session, "splice_credits", |left| left == 1)?;
    middle.splice()?;
    middle.up(10_000)?;
    middle.client(&json!({"do": "reset", "name": "c"}))?;
    middle.over("reset")?;
    middle.close(false, true)
}

/// Connections over different cards, over none, and over one whose link is down.
fn cards(middle: &mut Middle<'_>) -> Result<()> {
    middle.open([V4[0], "10.99.1.1"])?;
    middle.refused(&both(), "EXDEV")?;
    usable(middle)?;
    middle.close(true, true)?;

    let connect = |name: &str| json!({"do": "connect", "name": name, "host": "127.0.0.1", "port": PORT, "flags": 0});
    for (name, accepted) in [("m", "x"), ("n", "y")] {
        middle.host(&connect(name))?;
        middle.host(&json!({"do": "accept", "name": accepted, "listener": "l"}))?;
    }
    middle.refused(
        &json!({"do": "splice", "name": "m", "other": "n"}),
        "ENODEV",
    )?;

    middle.open(V4)?;
    middle.session.card(0)?.link(false)?;
    guest_until(
        middle.session,
        "no carrier",
        "grep -q 0 /sys/class/net/nic0/carrier",
    )?;
    middle.refused(&both(), "ENETDOWN")?;
    middle.session.card(0)?.link(true)?;
    guest_until(
        middle.session,
        "carrier",
        "grep -q 1 /sys/class/net/nic0/carrier",
    )?;
    usable(middle)?;
    middle.close(true, true)
}
