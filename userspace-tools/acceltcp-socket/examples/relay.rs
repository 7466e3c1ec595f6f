// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Connects each client to a backend, and has the card relay. What the card cannot do is done by hand.
//!
//! ```text
//! cargo run -p acceltcp-socket --example relay -- 0.0.0.0:8080 192.0.2.1:80
//! ```

use std::{
    env,
    io::{self, Read},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use acceltcp_socket::{set_offload, splice, splice_info, status, Offload, SpliceOptions};

/// Both connections are reset when nothing was heard for so long.
const IDLE: Duration = Duration::from_secs(300);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, backend] = arguments.as_slice() else {
        eprintln!("usage: relay ADDRESS BACKEND");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(address)?;
    match set_offload(&listener, Offload::SETUP | Offload::TEARDOWN) {
        Ok(()) => println!("{}", status(&listener)?.reason),
        Err(error) => println!("the host does everything: {error}"),
    }
    for client in listener.incoming() {
        let (client, backend) = (client?, backend.clone());
        thread::spawn(move || {
            if let Err(error) = serve(client, &backend) {
                eprintln!("{backend}: {error}");
            }
        });
    }
    Ok(())
}

/// Joins `client` and a new connection to `backend` until both have ended.
pub(crate) fn serve(client: TcpStream, backend: &str) -> io::Result<()> {
    let server = TcpStream::connect(backend)?;
    let options = SpliceOptions {
        idle: Some(IDLE),
        ..SpliceOptions::default()
    };
    if let Err(error) = splice(&client, &server, options) {
        eprintln!("relaying by hand: {error}");
        return by_hand(&client, &server);
    }
    // There is nothing to read but the end. Whatever it was, the card knows why.
    let end = (&client).read(&mut [0]);
    let info = splice_info(&client)?;
    println!(
        "{}: {} bytes from the client, {} to it",
        info.reason, info.rx_bytes, info.tx_bytes
    );
    end.map(drop)
}

fn by_hand(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let one_way = |mut from: &TcpStream, mut to: &TcpStream| {
        let result = io::copy(&mut from, &mut to);
        // The other peer may have gone; then the other direction tells.
        let _ = to.shutdown(Shutdown::Write);
        result.map(drop)
    };
    thread::scope(|scope| {
        let up = scope.spawn(|| one_way(client, server));
        let down = one_way(server, client);
        // A thread that panicked has its message printed.
        up.join().unwrap_or(Ok(())).and(down)
    })
}
