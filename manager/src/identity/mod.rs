//! Who is who: passwords, secrets, node keys, challenges and the tokens that follow from them.

mod challenges;
mod credentials;
mod nodes;
mod passwords;
mod seal;
mod secret_files;
mod secrets;
mod signer;

pub(crate) use credentials::{
    authenticate_admin, authenticate_pop, make_admin_token, make_enrolment_key,
    make_pop_credential, match_enrolment_key,
};
pub(crate) use nodes::{NodeError, Refusal, challenge, enrol, prove};
pub(crate) use passwords::{Password, Passwords};
pub(crate) use seal::Seal;
pub(crate) use secret_files::{PendingSecret, read_secret};
pub(crate) use signer::TokenSigner;
