from numpy import ufunc

gammainc_da: ufunc
betainc_da: ufunc
betainc_db: ufunc
