package l4

import "culvert/l4/socket"

// reserveFDs is kept for everything that is not a connection: listeners,
// epoll, logs, the admin server, probes. A process with few descriptors keeps
// a quarter of them.
const reserveFDs = 256

func reserved(fds int64) int64 { return min(reserveFDs, fds/4) }

// pipeShare is how many pipes there may be: a sixteenth of the descriptors,
// at two each; and how many bytes they may hold, 0 for no bound: three
// quarters of what an unprivileged user gets, which other processes of the
// same user share.
func pipeShare(lim socket.ProcessLimits) (pipes, bytes int64) {
	pipes = max(lim.FDs/32, 1)
	if lim.PipeBytes > 0 {
		bytes = lim.PipeBytes / 4 * 3
	}
	return pipes, bytes
}

// maxConnections is how many connections the descriptors carry, at two each.
func maxConnections(lim socket.ProcessLimits, pipes int64) int64 {
	return max((lim.FDs-reserved(lim.FDs)-2*pipes)/2, 1)
}
