// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What there is, and who speaks with whom.

use crate::canvas::{Anchor, Area, Canvas, Size, Tone};

/// The picture.
pub(crate) fn draw() -> Canvas {
    let mut canvas = Canvas::new(960, 560, "The pieces of AccelTCP for Linux");
    host(&mut canvas);
    card(&mut canvas);
    between(&mut canvas);
    canvas
}

fn host(canvas: &mut Canvas) {
    canvas.surface(Area(20, 20, 530, 520), Tone::Host);
    canvas.text(
        (36, 46),
        Anchor::Start,
        Size::Title,
        "host: an unmodified kernel",
    );
    let asks = "asks by a socket option";
    canvas.label(Area(40, 64, 160, 64), Tone::Inner, &["application"]);
    canvas.label(
        Area(210, 64, 160, 64),
        Tone::Inner,
        &["acceltcp-run", "any server"],
    );
    canvas.label(
        Area(380, 64, 150, 64),
        Tone::Inner,
        &["proxy", "chooses, splices"],
    );
    for x in [120, 290, 455] {
        canvas.arrow(&[(x, 128), (x, 168)], false);
    }
    canvas.text((132, 154), Anchor::Start, Size::Small, asks);
    canvas.label(
        Area(40, 170, 490, 62),
        Tone::Inner,
        &["TCP of Linux", "transfers all data, decides everything"],
    );
    canvas.surface(Area(40, 268, 490, 256), Tone::Note);
    canvas.text(
        (54, 292),
        Anchor::Start,
        Size::Title,
        "acceltcp.ko, in Rust",
    );
    canvas.arrow(&[(285, 232), (285, 302)], false);
    canvas.label(
        Area(60, 304, 450, 60),
        Tone::Inner,
        &["offload", "ULP, rules, hand-overs, pairs, credits"],
    );
    canvas.label(
        Area(60, 386, 140, 56),
        Tone::Inner,
        &["control", "netlink, sysctls"],
    );
    canvas.label(
        Area(220, 386, 290, 56),
        Tone::Inner,
        &["agilio", "PCI driver: rings, interrupts"],
    );
    canvas.arrow(&[(130, 386), (130, 366)], false);
    canvas.arrow(&[(365, 364), (365, 384)], false);
    canvas.label(
        Area(60, 462, 450, 48),
        Tone::Inner,
        &[
            "net, bindings",
            "safe wrappers for what the kernel crate lacks",
        ],
    );
}

fn card(canvas: &mut Canvas) {
    canvas.surface(Area(660, 20, 280, 450), Tone::Card);
    canvas.text(
        (676, 46),
        Anchor::Start,
        Size::Title,
        "card: a modelled Agilio",
    );
    canvas.label(
        Area(680, 64, 240, 66),
        Tone::Inner,
        &["nicstack", "no_std, no I/O of its own"],
    );
    for (y, name, does) in [
        (142, "setup", "cookies, half-open clients"),
        (210, "teardown", "timers, TIME-WAIT"),
        (278, "splice", "translates and relays"),
    ] {
        canvas.label(Area(680, y, 240, 56), Tone::Inner, &[name, does]);
    }
    canvas.label(
        Area(680, 352, 240, 100),
        Tone::Inner,
        &[
            "agilio-model",
            "a PCI device for QEMU:",
            "rings, checksums, RSS,",
            "memories of a fixed size",
        ],
    );
    canvas.label(Area(680, 500, 240, 40), Tone::Peer, &["peers on the wire"]);
    canvas.arrow(&[(780, 470), (780, 498)], false);
    canvas.arrow(&[(820, 500), (820, 472)], false);
}

fn between(canvas: &mut Canvas) {
    let middle = 605;
    canvas.text((middle, 300), Anchor::Middle, Size::Title, "PCIe");
    canvas.text((middle, 320), Anchor::Middle, Size::Small, "acceltcp-abi");
    canvas.text((middle, 336), Anchor::Middle, Size::Small, "says each byte");
    canvas.arrow(&[(510, 404), (678, 404)], false);
    canvas.text((middle, 372), Anchor::Middle, Size::Small, "frames,");
    canvas.text((middle, 388), Anchor::Middle, Size::Small, "commands");
    canvas.arrow(&[(680, 428), (512, 428)], false);
    canvas.text((middle, 446), Anchor::Middle, Size::Small, "frames,");
    canvas.text((middle, 462), Anchor::Middle, Size::Small, "events");
}
