// Package socket is the mechanism below the data plane: non-blocking stream
// sockets, epoll, splice and pipes, as thin as the kernel's own calls. It
// decides nothing: when to read, how much to move and what an error means is
// the business of package l4. It is the only package that imports
// golang.org/x/sys/unix.
package socket
