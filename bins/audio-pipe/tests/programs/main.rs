//! The program as people and scripts run it: its files, its pipes, its place at an agent socket, real devices.

mod control;
mod devices;
mod echo;
mod files;
mod gate;
mod hub;
mod music;
mod pipes;
mod recording;
mod report;
mod server;
mod support;
mod talk;
