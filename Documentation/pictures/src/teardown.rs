// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection teardown by the card.

use crate::canvas::Canvas;
use crate::timeline::{
    draw as timeline,
    Lane::{Card, Client, Host},
    Step::{At, Frame, Maybe, Part},
};

/// The picture.
pub(crate) fn draw() -> Canvas {
    timeline(
        "Packets of connection teardown by the card",
        &["client"],
        340,
        &[
            Part("the host closes first, its answer waits for the end"),
            Frame(Client, Host, "request"),
            At(
                Host,
                &[
                    "write(): a small answer waits,",
                    "250 microseconds at most",
                    "close(): all is decided",
                ],
            ),
            Frame(Host, Card, "state, headers and answer: one frame"),
            At(
                Host,
                &["the socket is forgotten:", "no orphan, no TIME_WAIT"],
            ),
            Frame(Card, Client, "answer, FIN"),
            Maybe(Card, Client, "again, until it is acknowledged"),
            Frame(Client, Card, "ACK"),
            Frame(Client, Card, "FIN"),
            Frame(Card, Client, "ACK"),
            Frame(Card, Host, "credits come back"),
            At(Card, &["TIME-WAIT, 60 s"]),
            Part("the client closes first"),
            Frame(Client, Host, "FIN"),
            At(Host, &["read() gives 0, close()"]),
            Frame(Host, Card, "state and headers: one frame"),
            Frame(Card, Client, "FIN, ACK"),
            Frame(Client, Card, "ACK"),
            Frame(Card, Host, "credits come back"),
            Part("late: a segment was on its way to the host"),
            Frame(Host, Card, "state, headers and data: one frame"),
            Frame(Card, Host, "segment, sent up before that"),
            At(Host, &["no socket; remembered for 2 s"]),
            Frame(Host, Card, "the segment, given back"),
            At(Card, &["taken as if it came", "from the wire just now"]),
        ],
    )
}
