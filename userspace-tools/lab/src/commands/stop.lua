-- SPDX-License-Identifier: GPL-2.0 OR MIT
-- Ends wrk after as many responses as its argument says, instead of after a time.
local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")

local left

function init(args)
   wrk.init(args)
   left = tonumber(args[1])
end

function response()
   left = left - 1
   if left == 0 then
      wrk.thread:stop()
      -- The main thread sleeps for the time that the command line allows; SIGINT ends that.
      ffi.C.kill(ffi.C.getpid(), 2)
   end
end
