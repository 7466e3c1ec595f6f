// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How far a connection is. Redirected data waits in the kernel for room in the other socket, and is lost when that is
//! closed meanwhile; nothing tells when it is through. So bytes are compared.

use std::{io, mem::size_of_val, net::TcpStream, os::fd::AsRawFd};

/// `struct tcp_info` up to the two numbers.
const NUMBERS: usize = 17;
const BYTES_ACKED: usize = 15;
const BYTES_RECEIVED: usize = 16;

/// Bytes that a socket has received in order; its peer's FIN counts as one.
pub(crate) fn received(stream: &TcpStream) -> io::Result<u64> {
    Ok(tcp_info(stream)?[BYTES_RECEIVED])
}

/// Bytes that a socket has taken to be sent, and a constant. Of what is acknowledged meanwhile it may miss some.
pub(crate) fn taken(stream: &TcpStream) -> io::Result<u64> {
    let acknowledged = tcp_info(stream)?[BYTES_ACKED];
    let mut queued: libc::c_int = 0;
    // SAFETY: It writes an int.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(acknowledged + u64::try_from(queued).unwrap_or(0))
}

fn tcp_info(stream: &TcpStream) -> io::Result<[u64; NUMBERS]> {
    let mut info = [0; NUMBERS];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: Both pointers are valid, and `length` is the length of `info`.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn bytes_of_both_ends_agree() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let before = taken(&client).unwrap();
        assert_eq!(received(&server).unwrap(), 0);
        client.write_all(&[7; 5000]).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut data = Vec::new();
        assert_eq!(server.read_to_end(&mut data).unwrap(), 5000);
        assert_eq!(received(&server).unwrap(), 5001);
        assert!(taken(&client).unwrap() >= before + 5000);
    }
}
