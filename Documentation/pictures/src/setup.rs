// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connection setup by the card.

use crate::canvas::Canvas;
use crate::timeline::{
    draw as timeline,
    Lane::{Card, Client, Host},
    Step::{At, Frame, Maybe, Part},
};

/// The picture.
pub(crate) fn draw() -> Canvas {
    timeline(
        "Packets of connection setup by the card",
        &["client"],
        340,
        &[
            Part("setup"),
            Frame(Host, Card, "rule: port, window, options"),
            Frame(Client, Card, "SYN"),
            Frame(Card, Client, "SYN-ACK, sequence number = cookie"),
            At(Card, &["nothing is remembered"]),
            Frame(Client, Card, "ACK of the cookie"),
            At(Card, &["cookie is good"]),
            Frame(Card, Host, "ACK with what was negotiated"),
            At(
                Host,
                &["netfilter's rules, then", "a connection to accept()"],
            ),
            Frame(Client, Host, "request"),
            Frame(Host, Client, "answer"),
            Part("setup,defer: the client speaks first"),
            Frame(Client, Card, "SYN"),
            Frame(Card, Client, "SYN-ACK, sequence number = cookie"),
            Frame(Client, Card, "ACK of the cookie"),
            At(Card, &["a bare ACK ends here"]),
            Frame(Client, Card, "request, with the ACK of the cookie"),
            Frame(Card, Host, "request with what was negotiated"),
            At(Host, &["a connection to accept(),", "with its first data"]),
            Frame(Host, Client, "answer"),
            Part("setup,server-first: the client's ACK is lost"),
            Frame(Client, Card, "SYN"),
            Frame(Card, Client, "SYN-ACK, sequence number = cookie"),
            At(Card, &["a half-open entry with a timer"]),
            Maybe(Card, Client, "SYN-ACK again, after 1, 3, 7, 15, 31 s"),
            Frame(Client, Card, "ACK of the cookie"),
            Frame(Card, Host, "ACK with what was negotiated"),
            Frame(Host, Client, "greeting"),
        ],
    )
}
