//! The built plugin as a user or a script runs it, without a cluster: what it prints, where, and its exit codes.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod help;
#[cfg(test)]
mod kubeconfig;
#[cfg(test)]
mod lock_test;
#[cfg(test)]
mod report;
#[cfg(test)]
mod run;
#[cfg(test)]
mod seal;
