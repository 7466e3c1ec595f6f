// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection splicing by the card.

use crate::canvas::Canvas;
use crate::timeline::{
    draw as timeline,
    Lane::{Backend, Card, Client, Host},
    Step::{At, Frame, Maybe, Part},
};

/// The picture.
pub(crate) fn draw() -> Canvas {
    timeline(
        "Packets of connection splicing by the card",
        &["client", "backend"],
        290,
        &[
            Part("the proxy decides"),
            Frame(Client, Host, "request"),
            At(
                Host,
                &["the proxy reads it, chooses", "a backend and connects"],
            ),
            Frame(Host, Backend, "request"),
            At(Host, &["setsockopt(ACCELTCP_SPLICE)"]),
            Frame(Host, Card, "both connections: one frame"),
            At(Host, &["both sockets are at rest"]),
            Part("the card relays, nothing crosses PCIe"),
            Frame(Backend, Card, "answer"),
            At(
                Card,
                &["headers, numbers, windows", "and checksums are translated"],
            ),
            Frame(Card, Client, "answer"),
            Frame(Client, Card, "ACK, next request"),
            Frame(Card, Backend, "ACK, next request"),
            Maybe(Card, Backend, "what the host left unacknowledged, again"),
            Part("the end"),
            Frame(Client, Card, "FIN"),
            Frame(Card, Backend, "FIN"),
            Frame(Backend, Card, "ACK, FIN"),
            Frame(Card, Client, "ACK, FIN"),
            Frame(Client, Card, "ACK"),
            Frame(Card, Backend, "ACK"),
            Frame(Card, Host, "event: closed, bytes"),
            At(Host, &["both sockets: POLLIN,", "recv() gives 0"]),
            At(Card, &["relays late segments", "for 5 s"]),
            Part("or taken back by ACCELTCP_UNSPLICE"),
            Frame(Host, Card, "take back"),
            At(Card, &["relays nothing new until", "all is acknowledged"]),
            Frame(Card, Host, "event: numbers of both"),
            At(Host, &["ordinary connections again"]),
        ],
    )
}
