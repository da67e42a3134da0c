//! The values that labels of counters take. All of them are known here, so that no peer can make
//! a new time series.

use titan_proto::{
    mux::{CloseCause, Violation},
    reason::Reason,
};

/// A label with a fixed set of values.
pub trait Label: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The value's place in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// The value as text, snake_case.
    fn text(self) -> &'static str;
}

impl Label for Reason {
    const ALL: &'static [Self] = Reason::ALL;

    fn index(self) -> usize {
        // Codes are dense from zero; `proto` has a test for it.
        self.code().into()
    }

    fn text(self) -> &'static str {
        self.label()
    }
}

/// Declares an enum that is a label, from its variants and their texts.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

label! {
    /// Why a client's connection ended that had no session, or none at the time.
    ClientClose {
        /// The first byte was neither SOCKS5's nor a letter.
        UnknownProtocol = "unknown_protocol",
        /// The SOCKS5 handshake was malformed.
        MalformedSocks5 = "malformed_socks5",
        /// The HTTP request was malformed or of a kind that is not served.
        MalformedHttp = "malformed_http",
        /// The user name carries a parameter that does not exist.
        UserParameter = "user_parameter",
        /// The handshake took too long.
        TimedOut = "timed_out",
        /// The handshake took too many bytes.
        TooLong = "too_long",
        /// The client went away, or its connection broke, before it had a session.
        Gone = "gone",
        /// The login was refused.
        LoginRefused = "login_refused",
        /// The command is not served: BIND.
        UnsupportedCommand = "unsupported_command",
        /// No tunnel could take the session.
        NoEdge = "no_edge",
        /// The shard is overloaded.
        Overloaded = "overloaded",
        /// Others needed its place while it was still in its handshake.
        CrowdedOut = "crowded_out",
        /// Its address has as many handshakes under way as it may.
        AddressLimit = "address_limit",
    }
}

label! {
    /// How a login went.
    LoginOutcome {
        /// The user is let in.
        Accepted = "accepted",
        /// User name or password is wrong.
        Refused = "refused",
        /// The user is switched off.
        Disabled = "disabled",
        /// The user's package has expired.
        PackageExpired = "package_expired",
        /// The user's package has not begun.
        PackageNotStarted = "package_not_started",
        /// The user's package is used up.
        QuotaExhausted = "quota_exhausted",
        /// The user may not connect from the client's address.
        ClientAddressDenied = "client_address_denied",
        /// The user has as many connections as may be.
        TooManyConnections = "too_many_connections",
        /// Nobody could say: the manager is away and the user is not known here.
        Unavailable = "unavailable",
    }
}

label! {
    /// Why a datagram was dropped.
    DatagramDrop {
        /// It came from another address than the client's.
        WrongSource = "wrong_source",
        /// It was a fragment (RFC 1928 §7).
        Fragment = "fragment",
        /// Its header was malformed, or named a target that cannot be.
        Malformed = "malformed",
        /// It has more bytes than the tunnel or the client's network carries.
        TooLong = "too_long",
        /// Its user's rate was used up.
        RateLimited = "rate_limited",
        /// The tunnel had no room for it.
        BufferFull = "buffer_full",
        /// It came through the tunnel faster than the association took it.
        Unread = "unread",
        /// It came from a target before the client's address was known.
        NoClient = "no_client",
        /// The socket towards the client had no room for it.
        SocketFull = "socket_full",
        /// The system would not send it to the client.
        Unsendable = "unsendable",
    }
}

label! {
    /// Why a request for a tunnel was refused.
    TunnelRefusal {
        /// It was no valid upgrade request.
        BadRequest = "bad_request",
        /// The path is not the tunnel's.
        NotFound = "not_found",
        /// The sub-protocol is not offered.
        Protocol = "protocol",
        /// No token, or one that is malformed, expired or wrongly signed.
        Token = "token",
        /// A good token, from before the node was sent away.
        SentAway = "sent_away",
        /// A good token, for another PoP.
        OtherPop = "other_pop",
        /// The manager's key is not known yet.
        NoKey = "no_key",
        /// The node has as many tunnels as it may.
        TooMany = "too_many",
        /// The PoP drains.
        Draining = "draining",
        /// The upgrade took too long.
        TimedOut = "timed_out",
        /// The connection ended or broke first.
        Gone = "gone",
        /// The shard is overloaded.
        Overloaded = "overloaded",
        /// Others needed its place while it was still in its upgrade.
        CrowdedOut = "crowded_out",
        /// Its address has as many upgrades under way as it may.
        AddressLimit = "address_limit",
    }
}

label! {
    /// Why a tunnel ended.
    TunnelEnd {
        /// The edge closed it.
        Peer = "peer",
        /// This PoP closed it.
        Local = "local",
        /// The connection ended or broke.
        Transport = "transport",
        /// The edge was silent for too long.
        Silence = "silence",
        /// The edge never said HELLO.
        NoHello = "no_hello",
        /// WebSocket was violated.
        WebSocket = "websocket_violation",
        /// Credit was violated.
        Credit = "credit_violation",
        /// Frames were malformed or came at the wrong time.
        Frame = "frame_violation",
        /// The edge does not read what it makes us answer.
        AnswersUnread = "answers_unread",
        /// The edge sent a flood of frames that bring nothing on.
        Flood = "flood",
    }
}

impl From<&CloseCause> for TunnelEnd {
    fn from(cause: &CloseCause) -> Self {
        match cause {
            CloseCause::Peer { .. } => Self::Peer,
            CloseCause::Local => Self::Local,
            CloseCause::TransportEnded => Self::Transport,
            CloseCause::HeartbeatTimeout => Self::Silence,
            CloseCause::HelloTimeout => Self::NoHello,
            CloseCause::Violation(violation) => match violation {
                Violation::WebSocket(_) => Self::WebSocket,
                Violation::CreditExceeded | Violation::BadCredit => Self::Credit,
                Violation::AnswersUnread => Self::AnswersUnread,
                Violation::Flood => Self::Flood,
                _ => Self::Frame,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Label>() {
        for (place, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), place, "{}", value.text());
        }
    }

    #[test]
    fn every_label_counts_in_its_own_place() {
        check::<Reason>();
        check::<ClientClose>();
        check::<LoginOutcome>();
        check::<DatagramDrop>();
        check::<TunnelRefusal>();
        check::<TunnelEnd>();
    }
}
